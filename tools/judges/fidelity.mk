# Is the lab like the real thing? Included by the main Makefile.
#
#   judges           builds the real library and kubectl from their published Go modules, into .tools
#   fidelity         compares the lab with them, and proves the recorded answers and the schema current
#   fidelity-update  records the answers and the schema again

.PHONY: judges fidelity fidelity-update

SCHEMA := src/bin/lab/machineconfig/schema.json

judges: ## builds the real library and kubectl, to compare the lab with (Go)
	@tools/judges/build

fidelity: ## is the lab like the real thing? (Go; minutes the first time)
	@tools/judges/fidelity

fidelity-update:
	@judges=$$(tools/judges/build machinery) && \
	"$$judges/machinery" schema > $(SCHEMA) && \
	BOOTSTRAP_JUDGES="$$judges" BOOTSTRAP_RECORD=1 cargo test --test it fidelity -- --ignored
