// Package definitions names the modules whose Go types definitions are made of, where only the types are published.
package definitions

import _ "github.com/fluxcd/helm-controller/api/v2"
