package cache

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const secretSize = 32

// hmacKey reads the store's secret, or makes it.
func (s *Store) hmacKey() ([]byte, error) {
	s.secretMu.Lock()
	defer s.secretMu.Unlock()
	if s.secret != nil {
		return s.secret, nil
	}
	path := filepath.Join(s.dir, "secret")
	read := func() ([]byte, error) {
		key, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if len(key) != secretSize {
			return nil, fmt.Errorf("%d bytes instead of %d; delete the file (steps with sensitive values will run again)", len(key), secretSize)
		}
		return key, nil
	}
	key, err := read()
	if errors.Is(err, fs.ErrNotExist) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		unlock, lockErr := s.Lock(ctx, "secret")
		if lockErr != nil {
			return nil, failure("lock", path, lockErr)
		}
		defer unlock()
		if key, err = read(); errors.Is(err, fs.ErrNotExist) {
			key = make([]byte, secretSize)
			rand.Read(key)
			err = s.writeFile(path, key, 0o600, true)
		}
	}
	if err != nil {
		return nil, failure("read", path, err)
	}
	s.secret = key
	return key, nil
}
