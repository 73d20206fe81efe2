// Package cache is the content-addressed store of step results.
//
// A step's result is found by its [Key]: everything that its bytes depend on, and nothing else. The record of a key
// names its outputs by SHA-256; the bytes lie in blobs. Layout of the folder:
//
//	FORMAT                     "optimize-cache 2"
//	blobs/sha256/ab/DIGEST     a file, or the manifest of a tree; read-only
//	trees/sha256/ab/DIGEST/    the tree of that manifest as a read-only folder
//	records/ab/SUM.json        what a key gave; written last, so a record never precedes its bytes
//	used/ab/SUM                which steps a record served; its time is that of the last use, to an hour
//	latest/HASH                the newest sum of a step's name, for explaining a miss
//	memo/xx/DEV-INODE          the digest of a file that was read before
//	published/HASH             folders that outputs were published to, and may be again
//	locks/SUM                  held while a key is worked on
//	tmp/ID, tmp/ID.lock        work in progress; a folder whose lock nobody holds is rubbish
//	in-use                     locked shared by whoever has the store open, alone by a collection or a migration
//	secret                     keys the HMAC under which sensitive values enter a key
//
// Every file appears by rename from tmp, so a process may be killed at any moment: what it leaves is either complete
// or swept at the next [Open].
package cache
