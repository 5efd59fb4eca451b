// Empty on purpose: a Go package with a file of this kind may use go:linkname (schema.go).
