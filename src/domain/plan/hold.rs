//! Why something stays where it cannot run.

use std::fmt;
use std::time::Duration;

use crate::domain::cluster::{ClusterKey, Resources};
use crate::domain::span::short;

/// The reason for which a binding, or a part of one, is held.
#[derive(Clone, Debug, PartialEq)]
pub enum Hold {
    /// `sheetanchor.dev/failover: Disabled`.
    Disabled,
    /// `sheetanchor.dev/failover-delay` has not passed.
    Delayed {
        /// What is left of it.
        left: Duration,
    },
    /// No cluster may take it.
    NoTarget(Refusals),
    /// Clusters may take it, and none has the room.
    NoRoom {
        /// What it, or one replica of it, asks for.
        need: Resources,
        /// The replicas that are held, where they are counted.
        replicas: Option<i64>,
        /// The one with the most room, and that room.
        roomiest: Option<(ClusterKey, Resources)>,
    },
    /// Its placement cannot be read; the text says why.
    Malformed(String),
}

/// How the clusters were ruled out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// Clusters that the affinity or the spare selector means.
    pub matching: usize,
    /// Of these, those that run it already.
    pub bound: usize,
    /// Of these, those that take nothing new: not schedulable, or a taint that is not tolerated.
    pub closed: usize,
}

impl Hold {
    /// The word people and metrics see.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Disabled => "Disabled",
            Self::Delayed { .. } => "Delayed",
            Self::NoTarget(_) => "NoTarget",
            Self::NoRoom { .. } => "NoRoom",
            Self::Malformed(_) => "Malformed",
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disabled => write!(f, "its annotation sheetanchor.dev/failover says Disabled"),
            Self::Delayed { left } => {
                write!(f, "its annotation sheetanchor.dev/failover-delay asks to wait for another {}", short(*left))
            }
            Self::NoTarget(Refusals { matching: 0, .. }) => {
                write!(f, "no other cluster matches its affinity or its sheetanchor.dev/spare-selector")
            }
            Self::NoTarget(Refusals { matching, bound, closed }) => {
                write!(
                    f,
                    "of {matching} other clusters that match, {bound} run it already and {closed} take nothing new"
                )
            }
            Self::NoRoom { need, replicas, roomiest } => {
                match replicas {
                    Some(replicas) => write!(f, "{replicas} replicas, each asking for {need}, do not fit")?,
                    None => write!(f, "it asks for {need}, which does not fit")?,
                }
                match roomiest {
                    Some((cluster, free)) => {
                        write!(f, ": the roomiest that may take it, \"{cluster}\", has {free} left")
                    }
                    None => Ok(()),
                }
            }
            Self::Malformed(fault) => write!(f, "its placement cannot be read: {fault}"),
        }
    }
}
