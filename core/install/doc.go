// Package install brings the native libraries that plugins load, and compares versions with constraints.
//
// A runtime is a package of pinned version and content: every file that is kept has its SHA-256 in [Runtimes]. The
// package comes through the user's own pip or uv, so their mirrors, proxies and certificates are used; or from a folder,
// for machines without a network. Nothing of it is executed. It lands in
//
//	DATA/runtimes/NAME/VERSION/        the library, its licences and install.json
//
// by one rename, so an interrupted install leaves nothing that could be taken for a library.
package install
