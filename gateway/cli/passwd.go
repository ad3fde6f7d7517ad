package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"sluice/mqttcore"
)

func newPasswd() *cobra.Command {
	var remove bool
	cmd := &cobra.Command{
		Use:   "passwd FILE USER",
		Short: "Add a user to a users file, or change or delete one",
		Long: `Asks for the password twice, or reads it as one line where standard input is
not a terminal. It is kept as a hash (argon2id). FILE is what the key "users" in
[broker] names; it is made if it is not there. A running gateway takes the file
up when it is told to reload.`,
		Example: `  sluice passwd /etc/sluice/users panel
  sluice passwd --delete /etc/sluice/users panel`,
		Args: usage(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, user := args[0], args[1]
			if err := mqttcore.CheckUser(user); err != nil {
				return usageError{err}
			}
			if remove {
				if err := mqttcore.DeleteUser(file, user); err != nil {
					return err
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: deleted %q\n", file, user)
				return err
			}
			password, err := askPassword(cmd.Context(), cmd.InOrStdin(), cmd.ErrOrStderr(), user)
			if err != nil {
				return err
			}
			created, err := mqttcore.SetUser(file, user, password)
			if err != nil {
				return err
			}
			done := "changed the password of"
			if created {
				done = "added"
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s %q\n", file, done, user)
			return err
		},
	}
	cmd.Flags().BoolVar(&remove, "delete", false, "delete the user")
	return cmd
}

// longestLine is the most that is read of a line with a password, in bytes:
// one more than MQTT can carry, with the end of the line.
const longestLine = 65535 + 3

// askPassword reads a password: twice from a terminal, which does not show it,
// else one line.
func askPassword(ctx context.Context, in io.Reader, out io.Writer, user string) ([]byte, error) {
	if f, ok := in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return askTwice(ctx, f, out, user)
	}
	line, err := bufio.NewReader(io.LimitReader(in, longestLine)).ReadBytes('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read the password: %w", err)
	}
	line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
	if len(line) == 0 {
		return nil, errors.New("no password: write it as one line to standard input")
	}
	return line, nil
}

// askTwice asks on a terminal until both answers are there or ctx ends, after
// which the terminal shows again what is typed.
func askTwice(ctx context.Context, f *os.File, out io.Writer, user string) ([]byte, error) {
	fd := int(f.Fd())
	usual, err := term.GetState(fd)
	if err != nil {
		return nil, fmt.Errorf("read the password: %w", err)
	}
	ask := func(prompt string) ([]byte, error) {
		_, _ = fmt.Fprint(out, prompt)
		typed := make(chan error, 1)
		var p []byte
		go func() {
			var err error
			p, err = term.ReadPassword(fd)
			typed <- err
		}()
		select {
		case err = <-typed:
		case <-ctx.Done():
			err = errors.Join(errors.New("interrupted: nothing is changed"), term.Restore(fd, usual))
		}
		_, _ = fmt.Fprintln(out)
		if err != nil {
			return nil, fmt.Errorf("read the password: %w", err)
		}
		return p, nil
	}
	first, err := ask(fmt.Sprintf("Password of %q: ", user))
	if err != nil {
		return nil, err
	}
	if len(first) == 0 {
		return nil, errors.New("no password was typed: nothing is changed")
	}
	again, err := ask("Once more: ")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(first, again) {
		return nil, errors.New("the two passwords are not the same: nothing is changed")
	}
	return first, nil
}
