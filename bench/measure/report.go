package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// A summary is what all runs of one command come to. Times are in milliseconds, memory in MB of 1e6 bytes.
type summary struct {
	name           string
	wall, p10, p90 float64
	cores          float64 // median of processor time over wall time
	peak           float64 // median of the runs' peaks; 0 when memory was not sampled
	samples        int     // median number of samples in a run
}

func summarise(commands []command, timed, sampled [][]run) []summary {
	all := make([]summary, len(commands))
	for i, c := range commands {
		var walls, cores, peaks, counts []float64
		for _, r := range timed[i] {
			walls = append(walls, float64(r.wall)/float64(time.Millisecond))
			cores = append(cores, float64(r.cpu)/float64(r.wall))
		}
		for _, r := range sampled[i] {
			peaks = append(peaks, float64(r.peak)/1e6)
			counts = append(counts, float64(r.samples))
		}
		all[i] = summary{
			name:    c.name,
			wall:    quantile(walls, 0.5),
			p10:     quantile(walls, 0.1),
			p90:     quantile(walls, 0.9),
			cores:   quantile(cores, 0.5),
			peak:    quantile(peaks, 0.5),
			samples: int(quantile(counts, 0.5)),
		}
	}
	return all
}

// quantile interpolates between the two nearest values; it is 0 without values.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	at := q * float64(len(sorted)-1)
	low := int(at)
	if low+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[low] + (at-float64(low))*(sorted[low+1]-sorted[low])
}

// report prints the table and returns a line for each limit or gate that did not hold.
func report(out io.Writer, all []summary, against string, limits limitFlag, gate bool, grow float64) []string {
	var peer *summary
	memory := false
	for i := range all {
		if all[i].name == against {
			peer = &all[i]
		}
		memory = memory || all[i].peak > 0
	}

	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	header := "\twall ms\tp10\tp90\tcores\t"
	if peer != nil {
		header += "ratio\t"
	}
	if memory {
		header += "peak MB\t"
		if peer != nil {
			header += "ratio\t"
		}
		header += "samples\t"
	}
	if len(limits) > 0 {
		header += "limit ms\t"
	}
	fmt.Fprintln(table, header)

	var missed []string
	for _, s := range all {
		row := fmt.Sprintf("%s\t%.1f\t%.1f\t%.1f\t%.2f\t", s.name, s.wall, s.p10, s.p90, s.cores)
		if peer != nil {
			row += fmt.Sprintf("%.3f\t", s.wall/peer.wall)
			if gate && s.wall > peer.wall {
				missed = append(missed, fmt.Sprintf("%s is slower than %s: %.1f ms, %.1f ms", s.name, peer.name, s.wall, peer.wall))
			}
		}
		if memory {
			row += fmt.Sprintf("%.1f\t", s.peak)
			if peer != nil {
				row += fmt.Sprintf("%.3f\t", s.peak/peer.peak)
				if grow > 0 && s.peak > grow*peer.peak {
					missed = append(missed, fmt.Sprintf("%s takes more than %.2f times the memory of %s: %.1f MB, %.1f MB", s.name, grow, peer.name, s.peak, peer.peak))
				}
				if gate && s.peak > peer.peak {
					missed = append(missed, fmt.Sprintf("%s takes more memory than %s: %.1f MB, %.1f MB", s.name, peer.name, s.peak, peer.peak))
				}
			}
			row += fmt.Sprintf("%d\t", s.samples)
		}
		if len(limits) > 0 {
			cell := ""
			if limit, ok := limits[s.name]; ok {
				ms := float64(limit) / float64(time.Millisecond)
				cell = fmt.Sprintf("%.0f", ms)
				if s.wall >= ms {
					missed = append(missed, fmt.Sprintf("%s takes %.1f ms; the limit is %.0f ms", s.name, s.wall, ms))
				}
			}
			row += cell + "\t"
		}
		fmt.Fprintln(table, row)
	}
	_ = table.Flush() // out is the terminal; a failed write has nowhere to be told
	return missed
}
