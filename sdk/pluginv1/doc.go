// Package pluginv1 is the plugin protocol, version 1: plugin.proto, what protoc generates from it, the handshake, and the
// type that a schema implies. Only handshake.go, types.go and value.go are written by hand; `make generate` writes the rest.
package pluginv1

//go:generate protoc -I . --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative plugin.proto
