package dataset

import (
	"errors"
	"fmt"
	"math"
)

// maxShuffle bounds the memory that an order takes, 16 bytes a sample: the number of
// samples is only what a file claims until it has been read.
const maxShuffle = 1 << 26

// choice says which samples of the source are taken and where each goes.
type choice struct {
	all, kept int64
	dest      []int64 // of each sample of the source, -1 for nowhere; nil: the first kept, in their order
}

// to is where sample i of the source goes, -1 for nowhere.
func (c *choice) to(i int64) int64 {
	switch {
	case c.dest != nil:
		return c.dest[i]
	case i < c.kept:
		return i
	}
	return -1
}

// Check finds the mistakes of a Spec that show without its source, such as words that no argument knows, so that a recipe
// can be refused before anything is read: at most one of the block itself and one of each input and target.
func Check(s Spec) (found []*Error) {
	note := func(err error) {
		var e *Error
		if errors.As(err, &e) {
			found = append(found, e)
		}
	}
	note(checkSpec(s))
	for _, in := range s.Inputs {
		note(checkWords(in, false))
	}
	for _, in := range s.Targets {
		note(checkWords(in, true))
	}
	return found
}

// checkWords looks at the arguments of an input that are one of a few words.
func checkWords(in Input, target bool) error {
	if _, err := newImagePlan(in); err != nil {
		return err
	}
	if err := checkLayout(in); err != nil {
		return err
	}
	if err := checkTokens(in); err != nil {
		return err
	}
	if in.DType == "" || target && in.DType == "text" {
		return nil
	}
	_, err := parseDType(in.DType)
	return badDType(in, err)
}

// checkSpec looks at what does not depend on the source.
func checkSpec(s Spec) error {
	switch {
	case s.Limit < 0:
		return &Error{Path: []string{"limit"}, Summary: "limit is negative", Detail: fmt.Sprintf("%d samples cannot be taken; 0 or no limit takes all.", s.Limit)}
	case s.Split != "" && s.Split != "train" && s.Split != "test":
		return &Error{Path: []string{"split"}, Summary: "split is not known", Detail: fmt.Sprintf("%q is neither \"train\" nor \"test\".", clip(s.Split))}
	case s.Split != "" && !(s.TestFraction > 0 && s.TestFraction < 1):
		return &Error{Path: []string{"test_fraction"}, Summary: "split needs a test_fraction", Detail: fmt.Sprintf("It is the share of the samples that are the test part, between 0 and 1, and not %v. Write the same one, and the same seed, for both parts.", s.TestFraction)}
	case s.Split == "" && s.TestFraction != 0:
		return &Error{Path: []string{"test_fraction"}, Summary: "test_fraction needs a split", Detail: `Say which part this dataset is: split = "train" or split = "test".`}
	}
	return nil
}

// choose applies split, shuffle and limit to a source of so many samples.
func choose(s Spec, all int64) (*choice, error) {
	c := &choice{all: all, kept: all}
	limit := func(n int64) int64 {
		if s.Limit > 0 {
			return min(n, s.Limit)
		}
		return n
	}
	if !s.Shuffle && s.Split == "" {
		c.kept = limit(all)
		return c, nil
	}
	if all > maxShuffle {
		arg := "shuffle"
		if !s.Shuffle {
			arg = "split"
		}
		return nil, &Error{Path: []string{arg}, Summary: "There are too many samples to " + arg, Detail: fmt.Sprintf("%s has %d; up to %d can be taken in another order. Do it when you write the file.", s.Source, all, maxShuffle)}
	}
	if s.Split == "" {
		c.kept = limit(all)
		c.dest = places(all, shuffled(all, c.kept, s.Seed))
		return c, nil
	}
	order := shuffled(all, all, s.Seed)
	test := int64(math.RoundToEven(float64(all) * s.TestFraction))
	part := order[test:]
	if s.Split == "test" {
		part = order[:test]
	}
	c.kept = limit(int64(len(part)))
	if c.kept == 0 {
		return nil, &Error{Path: []string{"test_fraction"}, Summary: "The " + s.Split + " part is empty", Detail: fmt.Sprintf("%s has %d samples, and %v of them are %d.", s.Source, all, s.TestFraction, test)}
	}
	if s.Shuffle {
		c.dest = places(all, part[:c.kept])
		return c, nil
	}
	// Chosen by the seed, but in the order of the source.
	c.dest = places(all, part)
	next := int64(0)
	for i, d := range c.dest {
		if d < 0 {
			continue
		}
		c.dest[i] = -1
		if next < c.kept {
			c.dest[i] = next
			next++
		}
	}
	return c, nil
}

// shuffled draws from seed which samples come first: the first kept of an order of
// all. The generator is written out (SplitMix64 and Fisher-Yates), so that the order
// is part of the format and not of a library's version.
func shuffled(all, kept int64, seed uint64) []int64 {
	order := make([]int64, all)
	for i := range order {
		order[i] = int64(i)
	}
	state := seed
	for i := int64(0); i < kept; i++ {
		state += 0x9e3779b97f4a7c15
		z := state
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		z ^= z >> 31
		k := i + int64(z%uint64(all-i))
		order[i], order[k] = order[k], order[i]
	}
	return order[:kept]
}

// places turns an order round: where each sample of the source goes, -1 if nowhere.
func places(all int64, order []int64) []int64 {
	dest := make([]int64, all)
	for i := range dest {
		dest[i] = -1
	}
	for at, from := range order {
		dest[from] = int64(at)
	}
	return dest
}
