package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// between takes at least and at most so many arguments.
func between(least, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch n := len(args); {
		case n > most && most == 0:
			return fmt.Errorf("%s takes no argument, and got %q", c.Name(), args[0])
		case n > most:
			return fmt.Errorf("%q is one argument too many", args[most])
		case n < least:
			return errors.New("an argument is missing")
		}
		return nil
	}
}
