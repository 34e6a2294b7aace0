// One binary, five programs: the parts of Kubernetes that sheetanchor's end-to-end tests talk to,
// and the kubectl that its manifests are installed with.
//
// The first argument names the program, the rest are its own flags, unchanged:
//
//	control-plane etcd | kube-apiserver | kube-scheduler | kube-controller-manager | kubectl [flags]
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client-go's metrics
	_ "k8s.io/component-base/metrics/prometheus/version"  // the version metric
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

var commands = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllermanager.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kubectl":                 kubectl.NewDefaultKubectlCommand,
}

const programs = "etcd, kube-apiserver, kube-scheduler, kube-controller-manager or kubectl"

func main() {
	if len(os.Args) < 2 {
		fail("control-plane: name a program: " + programs)
	}
	program := os.Args[1]
	// The programs read os.Args themselves; each must see only its own.
	os.Args = append([]string{filepath.Join(filepath.Dir(os.Args[0]), program)}, os.Args[2:]...)

	if os.Getenv("SHEETANCHOR_DIE_WITH_STDIN") == "1" {
		go dieWithStdin()
	}
	if program == "etcd" {
		etcdmain.Main(os.Args)
		return
	}
	command, known := commands[program]
	if !known {
		fail(fmt.Sprintf("control-plane: no program %q: it is %s", program, programs))
	}
	os.Exit(cli.Run(command()))
}

// dieWithStdin ends the process when whoever started it is gone: a test that is killed runs
// no clean-up, but the kernel always closes its end of the pipe.
func dieWithStdin() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(1)
}

func fail(message string) {
	fmt.Fprintln(os.Stderr, message)
	os.Exit(2)
}
