package cache

// Latest is the newest record of a name, whether or not its files are there still: what a plan knows of earlier runs.
func (s *Store) Latest(name string) (*Record, bool) {
	rec := s.latest(name)
	return rec, rec != nil
}
