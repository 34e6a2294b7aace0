//! What a pod asks of the node that it runs on, by kube-scheduler's rule.

use super::cluster::Resources;

/// A container that runs before the others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InitContainer {
    /// What it requests.
    pub requests: Resources,
    /// It keeps running beside the others (`restartPolicy: Always`, a sidecar).
    pub sidecar: bool,
}

/// The requests of a pod's parts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodParts {
    /// Of its containers, all running at once.
    pub containers: Vec<Resources>,
    /// Of those before them, one after the other.
    pub init_containers: Vec<InitContainer>,
    /// Of the pod as a whole (`spec.resources`), thousandths of a core.
    pub pod_cpu_millis: Option<f64>,
    /// Of the pod as a whole, bytes.
    pub pod_memory_bytes: Option<f64>,
    /// What its runtime class adds.
    pub overhead: Resources,
}

impl PodParts {
    /// What has to be free on a node for the pod to run there.
    pub fn requests(&self) -> Resources {
        let (mut sidecars, mut starting) = (Resources::default(), Resources::default());
        for container in &self.init_containers {
            if container.sidecar {
                sidecars += container.requests;
            }
            let beside = if container.sidecar { Resources::default() } else { container.requests };
            starting = starting.max(sidecars + beside);
        }
        let running = self.containers.iter().fold(sidecars, |sum, container| sum + *container);
        let needed = running.max(starting);
        let whole = Resources {
            cpu_millis: self.pod_cpu_millis.unwrap_or(needed.cpu_millis),
            memory_bytes: self.pod_memory_bytes.unwrap_or(needed.memory_bytes),
        };
        whole + self.overhead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu(cpu_millis: f64) -> Resources {
        Resources { cpu_millis, memory_bytes: cpu_millis * 10.0 }
    }

    fn init(millis: f64) -> InitContainer {
        InitContainer { requests: cpu(millis), sidecar: false }
    }

    fn sidecar(millis: f64) -> InitContainer {
        InitContainer { requests: cpu(millis), sidecar: true }
    }

    #[test]
    fn a_pod_needs_its_containers_together_or_its_largest_step_before_them() {
        for (name, containers, init_containers, expected) in [
            ("nothing", vec![], vec![], 0.0),
            ("containers", vec![100.0, 50.0], vec![], 150.0),
            ("small steps", vec![100.0, 50.0], vec![init(120.0), init(150.0)], 150.0),
            ("a large step", vec![100.0], vec![init(120.0), init(110.0)], 120.0),
            ("a sidecar runs beside the containers", vec![100.0], vec![sidecar(30.0)], 130.0),
            ("a step runs beside the sidecars before it", vec![10.0], vec![sidecar(30.0), init(40.0)], 70.0),
            ("and not beside those after it", vec![10.0], vec![init(40.0), sidecar(20.0)], 40.0),
            ("sidecars add up", vec![10.0], vec![sidecar(30.0), sidecar(20.0)], 60.0),
        ] {
            let containers = containers.into_iter().map(cpu).collect();
            let parts = PodParts { containers, init_containers, ..PodParts::default() };
            assert_eq!(parts.requests(), cpu(expected), "{name}");
        }
    }

    #[test]
    fn the_pods_own_word_counts_and_the_overhead_is_added() {
        let parts = PodParts { containers: vec![cpu(100.0)], overhead: cpu(7.0), ..PodParts::default() };
        assert_eq!(parts.requests(), cpu(107.0));
        let parts = PodParts { pod_cpu_millis: Some(300.0), ..parts };
        assert_eq!(parts.requests(), Resources { cpu_millis: 307.0, memory_bytes: 1070.0 });
        let parts = PodParts { pod_memory_bytes: Some(5.0), ..parts };
        assert_eq!(parts.requests(), Resources { cpu_millis: 307.0, memory_bytes: 75.0 });
    }
}
