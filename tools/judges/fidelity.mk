# Is the lab like the real thing? Included by the main Makefile.
#
#   judges           builds the real library and kubectl from their published Go modules, into .tools
#   fidelity         compares the lab with them, and proves the recorded answers and the schema current
#   fidelity-update  records the answers and the schema again
#   real-tools       builds all real programs of a real world, into .tools
#   rehearse-real    builds them, and rehearses with them

.PHONY: judges fidelity fidelity-update real-tools rehearse-real

SCHEMA := src/bin/lab/machineconfig/schema.json

judges: ## builds the real library and kubectl, to compare the lab with (Go)
	@tools/judges/build

fidelity: ## is the lab like the real thing? (Go; minutes the first time)
	@tools/judges/fidelity

fidelity-update:
	@judges=$$(tools/judges/build machinery) && \
	"$$judges/machinery" schema > $(SCHEMA) && \
	BOOTSTRAP_JUDGES="$$judges" BOOTSTRAP_RECORD=1 cargo test --test it fidelity -- --ignored

real-tools: ## builds the real control planes and tools for `lab new --real` (Go; a quarter of an hour to an hour the first time)
	@tools/judges/build real

rehearse-real: ## like rehearse-gitops, on real Kubernetes and Flux with the real tools; builds them first (Linux, Go, git)
	@REAL=$$(tools/judges/build real) STORY=$${STORY:-3.3} tools/rehearse
