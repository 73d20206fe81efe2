// Package pluginv1 is the plugin protocol, version 1: plugin.proto and what protoc generates from it.
// Nothing here is written by hand except this file; `make generate` writes the rest.
package pluginv1

//go:generate protoc -I . --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative plugin.proto
