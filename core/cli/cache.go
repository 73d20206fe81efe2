package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/optimize-hcl/optimize/core/cache"
	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/report"
	"github.com/optimize-hcl/optimize/core/run"
	"github.com/optimize-hcl/optimize/core/term"
)

func (a *app) cacheCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "cache",
		Short: "Look into the cache of results, check it, free space",
		Long: `The cache holds the result of every step, dataset and evaluation, so that nothing is
done twice. It lies in OPTIMIZE_CACHE, or in the user's cache folder, and may be
deleted at any time; only work is lost.`,
		Example: "  optimize cache ls\n  optimize cache explain step.int8 recipe.hcl\n  optimize cache gc --max-size 20GiB",
	}
	c.AddCommand(a.cacheLsCommand(), a.cacheExplainCommand(), a.cacheVerifyCommand(), a.cacheGCCommand(), a.cacheDirCommand())
	return c
}

func openCache() (*cache.Store, error) {
	dir, err := cache.DefaultDir(os.Getenv)
	if err != nil {
		return nil, err
	}
	return cache.Open(dir)
}

// cacheEntry is a record of the cache, or a file that was read in, which has neither name nor step type.
type cacheEntry struct {
	Name          string `json:"name,omitempty"`
	StepType      string `json:"step_type,omitempty"`
	Plugin        string `json:"plugin,omitempty"`
	PluginVersion string `json:"plugin_version,omitempty"`
	// Key is the record's, or the SHA-256 of the file.
	Key  string `json:"key"`
	Size int64  `json:"size"`
	// Made is empty of a file; Used is known to about an hour.
	Made     *time.Time    `json:"made,omitempty"`
	Used     time.Time     `json:"used"`
	Duration time.Duration `json:"duration_ns,omitempty"`
	// Uses are the recipes' folders and the steps in them that it served on this machine.
	Uses []cache.Use `json:"uses"`
	// Incomplete says that files of it are gone: the step runs again.
	Incomplete bool `json:"incomplete,omitempty"`
}

func entryOf(e cache.Entry) cacheEntry {
	out := cacheEntry{Key: e.Sum, Size: e.Size, Used: e.Used.UTC(), Uses: orEmpty(e.Uses), Incomplete: !e.Whole}
	if r := e.Record; r != nil {
		made := r.Started.UTC()
		out.Name, out.StepType, out.Plugin, out.PluginVersion = r.Name, r.Key.StepType, r.Key.Plugin, r.PluginVersion
		out.Made, out.Duration = &made, r.Duration
	}
	return out
}

// cacheList is what cache ls --json prints.
type cacheList struct {
	Schema   string       `json:"schema"`
	Dir      string       `json:"dir"`
	ReadOnly bool         `json:"read_only,omitempty"`
	Recipe   string       `json:"recipe,omitempty"`
	Entries  []cacheEntry `json:"entries"`
	// Total are the bytes of the whole cache: files that several entries share are counted once.
	Total int64 `json:"total_bytes"`
}

func (a *app) cacheLsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ls [RECIPE]",
		Short: "List what the cache holds",
		Long: `List what the cache holds, the newest use first: the step that made it, its size, when
it was made and used last, and how its key begins. With a RECIPE only what served its
steps.`,
		Example: "  optimize cache ls\n  optimize cache ls recipe.hcl\n  optimize cache ls --json",
		Args:    between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			place := ""
			if len(args) == 1 {
				var err error
				if place, err = recipeDir(args[0]); err != nil {
					return err
				}
			}
			s, err := openCache()
			if err != nil {
				return err
			}
			defer s.Close()
			entries, total, err := s.Entries(cmd.Context())
			if err != nil {
				return err
			}
			if place != "" {
				entries = slices.DeleteFunc(entries, func(e cache.Entry) bool {
					return !slices.ContainsFunc(e.Uses, func(u cache.Use) bool { return u.Place == place })
				})
			}
			if a.json {
				doc := cacheList{Schema: "optimize.cache.ls/v1", Dir: s.Dir(), ReadOnly: s.ReadOnly(), Recipe: place, Entries: []cacheEntry{}, Total: total}
				for _, e := range entries {
					doc.Entries = append(doc.Entries, entryOf(e))
				}
				return writeJSON(a.stdout, doc)
			}
			if len(entries) > 0 {
				a.writeEntries(entries, place)
				fmt.Fprintln(a.stdout)
			}
			of := ""
			if place != "" {
				of = " of this recipe"
			}
			fmt.Fprintf(a.stdout, "%s%s. The whole cache takes %s: %s\n", countEntries(entries), of, report.Bytes(total), s.Dir())
			return nil
		},
	}
}

// recipeDir is the folder of a recipe, absolute, as records of its steps name it.
func recipeDir(path string) (string, error) {
	st, err := os.Stat(path)
	if err != nil {
		return "", diag.Errorf("cache/recipe", "There is no recipe "+path, "Name a recipe's file or its folder.")
	}
	if !st.IsDir() {
		path = filepath.Dir(path)
	}
	return filepath.Abs(path)
}

// writeEntries writes a table. Where no recipe is named, the last column says which one used a record last.
func (a *app) writeEntries(entries []cache.Entry, place string) {
	head := []string{"name", "type", "size", "used", "made", "key"}
	if place == "" {
		head = append(head, "recipe")
	}
	rows := [][]string{head}
	for _, e := range entries {
		row := []string{"(file)", "", report.Bytes(e.Size), ago(e.Used), "", shortKey(e.Sum)}
		if r := e.Record; r != nil {
			row[0], row[1], row[4] = term.Clean(r.Name), term.Clean(r.Key.StepType), ago(r.Started)
		}
		if n := len(e.Uses); place == "" && n > 0 && e.Uses[n-1].Place != "" {
			row = append(row, term.Clean(shortPath(e.Uses[n-1].Place)))
		}
		if !e.Whole {
			row[2] += " (incomplete)"
		}
		rows = append(rows, row)
	}
	a.writeColumns(rows)
}

// writeColumns writes rows whose first is the heading, aligned.
func (a *app) writeColumns(rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, r := range rows {
		for i, c := range r {
			widths[i] = max(widths[i], term.Width(c))
		}
	}
	s := report.Style{Color: a.color(a.stdout)}
	for k, r := range rows {
		var b strings.Builder
		for i, c := range r {
			b.WriteString(term.Pad(c, widths[i]) + "  ")
		}
		line := strings.TrimRight(b.String(), " ")
		if k == 0 {
			line = s.Faint(line)
		}
		fmt.Fprintln(a.stdout, line)
	}
}

// countEntries says how many records and files there are.
func countEntries(entries []cache.Entry) string {
	files := 0
	for _, e := range entries {
		if e.Record == nil {
			files++
		}
	}
	text := count(len(entries)-files, "record")
	if files > 0 {
		text += " and " + count(files, "file") + " read in"
	}
	return text
}

func count(n int, word string) string {
	if n != 1 {
		word += "s"
	}
	return strconv.Itoa(n) + " " + word
}

func shortKey(key string) string { return key[:min(12, len(key))] }

// ago says how long it is since t, in the largest unit that fits.
func ago(t time.Time) string {
	d := time.Since(t)
	switch {
	case t.IsZero():
		return ""
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", d/time.Hour)
	}
	return fmt.Sprintf("%d days ago", d/(24*time.Hour))
}

func (a *app) cacheDirCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "dir",
		Short:   "Print the folder of the cache",
		Long:    `Print the folder of the cache, whether or not it is there.`,
		Example: "  optimize cache dir\n  du -sh \"$(optimize cache dir)\"",
		Args:    between(0, 0),
		RunE: func(*cobra.Command, []string) error {
			dir, err := cache.DefaultDir(os.Getenv)
			if err != nil {
				return err
			}
			if a.json {
				return writeJSON(a.stdout, struct {
					Schema string `json:"schema"`
					Dir    string `json:"dir"`
				}{"optimize.cache.dir/v1", dir})
			}
			_, err = fmt.Fprintln(a.stdout, dir)
			return err
		},
	}
}

// defaultKeep is how long a record stays unused when nothing else is said.
const defaultKeep = 30 * 24 * time.Hour

// cacheGC is what cache gc --json prints.
type cacheGC struct {
	Schema  string       `json:"schema"`
	Dir     string       `json:"dir"`
	DryRun  bool         `json:"dry_run,omitempty"`
	Removed []cacheEntry `json:"removed"`
	Freed   int64        `json:"freed_bytes"`
	Kept    int          `json:"kept"`
	Size    int64        `json:"size_bytes"`
	Damaged int          `json:"damaged,omitempty"`
}

func (a *app) cacheGCCommand() *cobra.Command {
	var size, keep, older, wait string
	var dry bool
	c := &cobra.Command{
		Use:   "gc",
		Short: "Remove what was not used for long, or to fit a size",
		Long: `Remove results from the cache, the least recently used first: with --max-size until
the rest fits, with --keep what was not used for that long. Without either, what was
not used for 30 days. A file stays as long as a record that is kept needs it.

Nothing that a running apply works with is removed: gc waits for it to end, as long as
--wait says. It may be interrupted at any time.`,
		Example: "  optimize cache gc --max-size 20GiB\n  optimize cache gc --keep 14d --dry-run\n  optimize cache gc --max-size 0",
		Args:    between(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			l := cache.Limits{MaxSize: -1, Keep: -1, DryRun: dry}
			var err error
			given := cmd.Flags().Changed // a variable of a shell that is empty is no order to do something else
			if given("older-than") {
				if given("keep") {
					return usagef("--older-than is another name for --keep: give one of them")
				}
				keep = older
			}
			if given("max-size") {
				if l.MaxSize, err = parseBound(size); err != nil {
					return usagef("--max-size: %s", err)
				}
			}
			if given("keep") || given("older-than") {
				if l.Keep, err = parseAge(keep); err != nil {
					return usagef("--keep: %s", err)
				}
			}
			if l.Wait, err = parseAge(wait); err != nil {
				return usagef("--wait: %s", err)
			}
			if !given("max-size") && !given("keep") && !given("older-than") {
				l.Keep = defaultKeep
			}
			return a.cacheGC(cmd.Context(), l)
		},
	}
	c.Flags().StringVar(&size, "max-size", "", "how much may stay, such as 20GiB or 800MB; 0 removes everything")
	c.Flags().StringVar(&keep, "keep", "", "keep what was used within this time, such as 14d, 2w or 12h")
	c.Flags().StringVar(&older, "older-than", "", "the same as --keep: remove what was not used for this time")
	c.Flags().StringVar(&wait, "wait", "30s", "how long to wait for a running apply to end")
	c.Flags().BoolVar(&dry, "dry-run", false, "only say what would be removed")
	return c
}

// parseBound reads a size; unlike elsewhere, nothing is a size too.
func parseBound(text string) (int64, error) {
	if strings.Trim(strings.TrimRight(strings.ToLower(text), "kmgtib "), "0.") == "" && strings.ContainsRune(text, '0') {
		return 0, nil
	}
	return run.ParseSize(text)
}

// parseAge reads a time as people write it for ages: 14d, 2w, 12h, 1h30m.
func parseAge(text string) (time.Duration, error) {
	t := strings.ToLower(strings.TrimSpace(text))
	if n := len(t); n > 0 {
		if unit, ok := map[byte]time.Duration{'d': 24 * time.Hour, 'w': 7 * 24 * time.Hour}[t[n-1]]; ok {
			v, err := strconv.ParseFloat(t[:n-1], 64)
			if err == nil && v >= 0 && v < 36500 {
				return time.Duration(v * float64(unit)), nil
			}
		} else if d, err := time.ParseDuration(t); err == nil && d >= 0 {
			return d, nil
		}
	}
	return 0, fmt.Errorf("%q is no time: write a number with its unit, such as 14d, 2w or 12h", text)
}

func (a *app) cacheGC(ctx context.Context, l cache.Limits) error {
	s, err := openCache()
	if err != nil {
		return err
	}
	defer s.Close()
	out, err := s.Collect(ctx, l)
	var busy *cache.InUseError
	switch {
	case errors.As(err, &busy):
		return diag.Errorf("cache/in-use", "The cache is in use", "Another optimize has %s open, and may need what would be removed. Try again when that has ended, or wait for it: `optimize cache gc --wait 10m`.", busy.Dir)
	case err != nil && ctx.Err() != nil:
		return diag.Errorf("cache/stopped", "Stopped by a signal", "What was removed until then is gone, the rest is whole. Run it again to go on.")
	case err != nil:
		return err
	}
	if a.json {
		doc := cacheGC{Schema: "optimize.cache.gc/v1", Dir: s.Dir(), DryRun: l.DryRun, Removed: []cacheEntry{}, Freed: out.Freed, Kept: out.Kept, Size: out.Size, Damaged: out.Damaged}
		for _, e := range out.Removed {
			doc.Removed = append(doc.Removed, entryOf(e))
		}
		return writeJSON(a.stdout, doc)
	}
	removed, stay := "Removed", "stay"
	if l.DryRun {
		removed, stay = "Would remove", "would stay"
	}
	if len(out.Removed) > 0 {
		a.writeEntries(out.Removed, "")
		fmt.Fprintln(a.stdout)
	}
	damaged := ""
	if out.Damaged > 0 {
		damaged = fmt.Sprintf(" and %s that could not be read", count(out.Damaged, "record"))
	}
	if stay == "stay" && out.Kept == 1 {
		stay = "stays"
	}
	fmt.Fprintf(a.stdout, "%s %s%s: %s. %d %s (%s) in %s\n", removed, countEntries(out.Removed), damaged, report.Bytes(out.Freed), out.Kept, stay, report.Bytes(out.Size), s.Dir())
	return nil
}
