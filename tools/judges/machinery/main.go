// machinery answers questions about Talos machine configurations with Talos's own published library
// (github.com/siderolabs/talos/pkg/machinery): the judge of what the lab's talosctl and our templates do.
//
//	machinery gen-secrets  [-talos V]                                                    secrets bundle, YAML
//	machinery gen-config   -secrets F -name N -endpoint URL -type T [-talos V] [-k8s V] [-disk D] [-image I]
//	                                                                                     T: controlplane, worker, talosconfig
//	machinery patch        -config F PATCH...                                            what `talosctl machineconfig patch` writes
//	machinery validate     [-mode M] [-strict] FILE                                      what `talosctl validate` says
//	machinery schema                                                                     every document, by reflection, JSON
//	machinery bundle-check FILE                                                          whether a secrets bundle loads and is complete
//
// It never talks to a network. Answers go to stdout, complaints to stderr with exit status 1, as talosctl does it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/siderolabs/talos/pkg/machinery/config"
	"github.com/siderolabs/talos/pkg/machinery/config/configloader"
	"github.com/siderolabs/talos/pkg/machinery/config/configpatcher"
	"github.com/siderolabs/talos/pkg/machinery/config/encoder"
	"github.com/siderolabs/talos/pkg/machinery/config/generate"
	"github.com/siderolabs/talos/pkg/machinery/config/generate/secrets"
	"github.com/siderolabs/talos/pkg/machinery/config/machine"
	"github.com/siderolabs/talos/pkg/machinery/config/validation"
	"gopkg.in/yaml.v3"
)

// mode is where the configuration is to run; it decides which parts are required.
type mode string

func (m mode) String() string        { return string(m) }
func (m mode) RequiresInstall() bool { return m == "metal" }
func (m mode) InContainer() bool     { return m == "container" }

// question is one word with its flags.
type question struct {
	talos, kubernetes, bundle, name, endpoint, kind, disk, image, file, mode string
	strict                                                                   bool
	words                                                                    []string
}

func main() {
	answers := map[string]func(question) ([]byte, error){
		"gen-secrets":  genSecrets,
		"gen-config":   genConfig,
		"patch":        patch,
		"validate":     validate,
		"schema":       func(question) ([]byte, error) { return dumpSchema() },
		"bundle-check": bundleCheck,
	}
	if len(os.Args) < 2 || answers[os.Args[1]] == nil {
		fail(errors.New("usage: machinery gen-secrets|gen-config|patch|validate|schema|bundle-check …"))
	}
	var q question
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	flags.StringVar(&q.talos, "talos", "v1.11.2", "Talos version")
	flags.StringVar(&q.kubernetes, "k8s", "1.34.1", "Kubernetes version")
	flags.StringVar(&q.bundle, "secrets", "", "secrets bundle")
	flags.StringVar(&q.name, "name", "", "cluster name")
	flags.StringVar(&q.endpoint, "endpoint", "", "cluster endpoint URL")
	flags.StringVar(&q.kind, "type", "controlplane", "controlplane, worker or talosconfig")
	flags.StringVar(&q.disk, "disk", "/dev/sda", "install disk")
	flags.StringVar(&q.image, "image", "", "installer image")
	flags.StringVar(&q.file, "config", "", "machine configuration")
	flags.StringVar(&q.mode, "mode", "metal", "metal, cloud or container")
	flags.BoolVar(&q.strict, "strict", false, "warnings are errors")
	_ = flags.Parse(os.Args[2:])
	q.words = flags.Args()

	out, err := answers[os.Args[1]](q)
	if err != nil {
		fail(err)
	}
	if _, err := os.Stdout.Write(out); err != nil {
		fail(err)
	}
}

func genSecrets(q question) ([]byte, error) {
	contract, err := config.ParseContractFromVersion(q.talos)
	if err != nil {
		return nil, err
	}
	bundle, err := secrets.NewBundle(secrets.NewClock(), contract)
	if err != nil {
		return nil, err
	}
	return yaml.Marshal(bundle)
}

func genConfig(q question) ([]byte, error) {
	contract, err := config.ParseContractFromVersion(q.talos)
	if err != nil {
		return nil, err
	}
	bundle, err := loadBundle(q.bundle)
	if err != nil {
		return nil, err
	}
	input, err := generate.NewInput(q.name, q.endpoint, q.kubernetes,
		generate.WithVersionContract(contract), generate.WithSecretsBundle(bundle),
		generate.WithInstallDisk(q.disk), generate.WithInstallImage(q.image))
	if err != nil {
		return nil, err
	}
	if q.kind == "talosconfig" {
		client, err := input.Talosconfig()
		if err != nil {
			return nil, err
		}
		return yaml.Marshal(client)
	}
	kind, err := machine.ParseType(q.kind)
	if err != nil {
		return nil, err
	}
	made, err := input.Config(kind)
	if err != nil {
		return nil, err
	}
	return made.EncodeBytes(encoder.WithComments(encoder.CommentsDisabled))
}

func patch(q question) ([]byte, error) {
	base, err := os.ReadFile(q.file)
	if err != nil {
		return nil, err
	}
	arguments := make([]string, 0, len(q.words))
	for _, path := range q.words {
		arguments = append(arguments, "@"+path)
	}
	patches, err := configpatcher.LoadPatches(arguments)
	if err != nil {
		return nil, err
	}
	out, err := configpatcher.Apply(configpatcher.WithBytes(base), patches)
	if err != nil {
		return nil, err
	}
	return out.Bytes()
}

func validate(q question) ([]byte, error) {
	if len(q.words) != 1 {
		return nil, errors.New("validate takes one file")
	}
	cfg, err := configloader.NewFromFile(q.words[0])
	if err != nil {
		return nil, err
	}
	options := []validation.Option{validation.WithLocal()}
	if q.strict {
		options = append(options, validation.WithStrict())
	}
	warnings, err := cfg.Validate(mode(q.mode), options...)
	for _, warning := range warnings {
		fmt.Fprintf(os.Stderr, "WARNING: %s\n", warning)
	}
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%s is valid for %s mode\n", q.words[0], q.mode), nil
}

func bundleCheck(q question) ([]byte, error) {
	if len(q.words) != 1 {
		return nil, errors.New("bundle-check takes one file")
	}
	bundle, err := loadBundle(q.words[0])
	if err != nil {
		return nil, err
	}
	if err := bundle.Validate(); err != nil {
		return nil, fmt.Errorf("failed to validate secrets bundle: %w", err)
	}
	return []byte("bundle is complete\n"), nil
}

func loadBundle(path string) (*secrets.Bundle, error) {
	bundle, err := secrets.LoadBundle(path)
	if err != nil {
		return nil, fmt.Errorf("failed to load secrets bundle: %w", err)
	}
	bundle.Clock = secrets.NewClock()
	return bundle, nil
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
