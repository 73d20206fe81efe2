package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// Error is a failed file operation: what was tried, where, why, and what the user can do about it.
type Error struct {
	Op   string // "write", "read", ...
	Path string
	Err  error
	Hint string // empty when nothing better is known than the reason
}

// IsFull reports whether an error is about a disk that is full.
func IsFull(err error) bool { return isNoSpace(err) }

func (e *Error) Error() string {
	text := fmt.Sprintf("cannot %s %s: %s", e.Op, e.Path, reason(e.Err))
	if e.Hint != "" {
		text += ". " + e.Hint
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

// reason is the cause without the path that a PathError repeats.
func reason(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}

// failure puts a failed operation on the store's own files into words. It leaves an Error as it is.
func failure(op, path string, err error) error { return failureIn(storeOf(path), op, path, err) }

// failureIn is failure where path does not tell which store is meant.
func failureIn(store, op, path string, err error) error {
	full := "Free some space, or set OPTIMIZE_CACHE to a folder on another disk."
	if store != "" && isNoSpace(err) {
		full = Advice(store, 0)
	}
	return fail(op, path, err, "set OPTIMIZE_CACHE to a folder", full)
}

// userFailure is failure for the user's own files.
func userFailure(op, path string, err error) error {
	return fail(op, path, err, "choose a folder", "Free some space, or choose a place on another disk.")
}

func fail(op, path string, err error, elsewhere, full string) error {
	var e *Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	out := &Error{Op: op, Path: path, Err: err}
	switch {
	case isNoSpace(err):
		out.Hint = full
	case isReadOnly(err):
		out.Hint = "The file system is read-only: " + elsewhere + " that may be written."
	case errors.Is(err, syscall.ENOTDIR):
		out.Hint = "A file stands where a folder should be: " + elsewhere + "."
	case errors.Is(err, fs.ErrPermission) && op == "read":
		out.Hint = "Make it readable for this user."
	case errors.Is(err, fs.ErrPermission):
		out.Hint = "Make it writable for this user, or " + elsewhere + " that is."
	}
	return out
}
