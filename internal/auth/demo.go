package auth

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"konzil/internal/oops"
)

const demoFile = "demo-accounts"

// Demo is an account of the first steps, made so that it can be shown.
type Demo struct {
	User     string
	Password string // empty when somebody has changed it
}

// EnsureDemo makes the accounts alice and bob with random passwords on the first call, and gives the same ones ever after. The
// passwords are kept in clear in <dir>/demo-accounts (0600): for trying out only, never call it with a configuration file.
// An account that was deleted comes back; a password that was changed stays so.
func (l *Local) EnsureDemo(ctx context.Context, dir string) ([]Demo, error) {
	demos, err := loadDemo(filepath.Join(dir, demoFile))
	if err != nil {
		return nil, err
	}
	for i, d := range demos {
		err := l.Create(ctx, d.User, d.Password)
		if err == nil {
			continue
		}
		if !errors.Is(err, ErrExists) {
			return nil, err
		}
		_, ok, err := l.CheckPassword(ctx, d.User, d.Password)
		if err != nil {
			return nil, err
		}
		if !ok {
			demos[i].Password = ""
		}
	}
	return demos, nil
}

// loadDemo reads the file, one `user password` a line, or makes it.
func loadDemo(name string) ([]Demo, error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		demos := []Demo{{"alice", readablePassword()}, {"bob", readablePassword()}}
		var b strings.Builder
		for _, d := range demos {
			fmt.Fprintf(&b, "%s %s\n", d.User, d.Password)
		}
		err := os.WriteFile(name, []byte(b.String()), 0o600)
		return demos, oops.File("auth", name, "give the data directory to this user", err)
	}
	if err != nil {
		return nil, oops.File("auth", name, "give it to this user or delete it", err)
	}
	var demos []Demo
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) != 2 {
			return nil, oops.New("auth", name+" is damaged", "delete it", nil)
		}
		demos = append(demos, Demo{f[0], f[1]})
	}
	return demos, nil
}

// readablePassword is like tamo-bilu-kesa-nopi: 8 syllables out of 64, so 48 bits, easy to read out and type.
func readablePassword() string {
	const consonants, vowels = "bdfghklmnprstvwz", "aeiu"
	var b strings.Builder
	for i, r := range randomBytes(8) {
		if i > 0 && i%2 == 0 {
			b.WriteByte('-')
		}
		b.WriteByte(consonants[r>>2&15])
		b.WriteByte(vowels[r&3])
	}
	return b.String()
}
