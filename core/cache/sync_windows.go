//go:build windows

package cache

// syncDir does nothing: NTFS journals renames, and a folder handle cannot be flushed.
func syncDir(string) error { return nil }
