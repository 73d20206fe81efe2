// Package tensor holds what every other package needs to pass numbers around:
// element types, shapes, typed views on bytes, safetensors files and the
// sharded datasets built from them.
//
// A [Tensor] never owns its bytes. It may alias a memory-mapped file, a caller's
// slice or a protobuf message, so treat Data as read-only unless you made it.
// Bytes are little-endian, which is also the byte order of every platform the
// project supports (amd64, arm64), so a view is a cast and not a conversion.
package tensor
