package cli

import (
	"encoding/json"
	"io"
)

// writeJSON writes one document, indented. docs/json-output.md has the schema of each.
func writeJSON(w io.Writer, document any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(document)
}

// orEmpty gives a list that JSON writes as [] when there is nothing.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
