package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

const canSample = true

// sampleEvery is the pause between two looks at the process tree: short against a peak that lasts, long enough to leave the processor to the command.
const sampleEvery = time.Millisecond

// A sampler watches the memory of a process and its descendants: the sum of their proportional set sizes, in which a
// page that two of them share counts once.
type sampler struct {
	quit   chan struct{}
	result chan sampled
}

type sampled struct {
	peak  int64
	count int
}

func startSampler(pid int) *sampler {
	s := &sampler{quit: make(chan struct{}), result: make(chan sampled, 1)}
	go func() {
		var r sampled
		for {
			select {
			case <-s.quit:
				s.result <- r
				return
			default:
			}
			if total := treePSS(pid); total > 0 {
				r.peak = max(r.peak, total)
				r.count++
			}
			time.Sleep(sampleEvery)
		}
	}()
	return s
}

// stop ends the watch and returns the peak in bytes and the number of samples behind it.
func (s *sampler) stop() (int64, int) {
	close(s.quit)
	r := <-s.result
	return r.peak, r.count
}

func treePSS(pid int) int64 {
	total := processPSS(pid)
	for _, child := range children(pid) {
		total += treePSS(child)
	}
	return total
}

// processPSS is 0 for a process that has ended.
func processPSS(pid int) int64 {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "smaps_rollup"))
	if err != nil {
		return 0
	}
	return parsePSS(b)
}

// parsePSS reads the line "Pss:   336 kB" of a smaps_rollup file.
func parsePSS(b []byte) int64 {
	for line := range bytes.Lines(b) {
		rest, found := bytes.CutPrefix(line, []byte("Pss:"))
		if !found {
			continue
		}
		fields := bytes.Fields(rest)
		if len(fields) == 0 {
			return 0
		}
		kb, err := strconv.ParseInt(string(fields[0]), 10, 64)
		if err != nil {
			return 0
		}
		return kb * 1024
	}
	return 0
}

// children lists the processes that any thread of pid started.
func children(pid int) []int {
	lists, _ := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task", "*", "children"))
	var pids []int
	for _, list := range lists {
		b, err := os.ReadFile(list)
		if err != nil {
			continue
		}
		for _, field := range bytes.Fields(b) {
			if child, err := strconv.Atoi(string(field)); err == nil {
				pids = append(pids, child)
			}
		}
	}
	return pids
}
