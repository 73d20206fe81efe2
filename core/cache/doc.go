// Package cache is the content-addressed store of step results.
//
// A step's result is found by its [Key]: everything that its bytes depend on, and nothing else. The record of a key
// names its outputs by SHA-256; the bytes lie in blobs. Layout of the folder:
//
//	FORMAT                     "optimize-cache 1"
//	blobs/sha256/ab/DIGEST     a file, or the manifest of a tree; read-only
//	trees/sha256/ab/DIGEST/    the tree of that manifest as a read-only folder
//	records/ab/SUM.json        what a key gave; written last, so a record never precedes its bytes
//	latest/HASH                the newest sum of a step's name, for explaining a miss
//	memo/xx/DEV-INODE          the digest of a file that was read before
//	published/HASH             folders that outputs were published to, and may be again
//	locks/SUM                  held while a key is worked on
//	tmp/ID, tmp/ID.lock        work in progress; a folder whose lock nobody holds is rubbish
//	secret                     keys the HMAC under which sensitive values enter a key
//
// Every file appears by rename from tmp, so a process may be killed at any moment: what it leaves is either complete
// or swept at the next [Open].
package cache
