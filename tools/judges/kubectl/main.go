// kubectl is the real one, built from its published library: a judge of what the lab's kubectl accepts and says.
package main

import (
	"os"

	_ "k8s.io/client-go/plugin/pkg/client/auth" // ways to sign in
	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
)

func main() { os.Exit(cli.Run(cmd.NewDefaultKubectlCommand())) }
