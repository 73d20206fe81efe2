// Package docs is the documentation, for `optimize docs`.
package docs

import "embed"

// Files are the Markdown files of this folder, the step types' in the folder steps.
//
//go:embed *.md steps/*.md
var Files embed.FS
