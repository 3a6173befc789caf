package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"konzil/xmpp/stanza"
)

// RetentionConfig is how long messages are kept.
type RetentionConfig struct {
	Messages   time.Duration `yaml:"messages" doc:"Archives of people: older messages go; 0 keeps them."`
	Rooms      time.Duration `yaml:"rooms" doc:"Likewise what was said in rooms."`
	Exceptions []string      `yaml:"exceptions" doc:"Other times for single people or rooms, as ADDRESS=TIME: the full address, and 0 for ever, for example helpdesk@conference.example.org=7d."`
}

const (
	// expireEvery is how often what is too old is removed; a message may stay that much longer.
	expireEvery = time.Hour
	// firstExpire is how long after the start it is done first.
	firstExpire = time.Minute
)

// rules reads the exceptions.
func (c RetentionConfig) rules() (map[string]time.Duration, error) {
	out := map[string]time.Duration{}
	for _, e := range c.Exceptions {
		address, text, ok := strings.Cut(e, "=")
		j, err := stanza.ParseJID(strings.TrimSpace(address))
		keep, timed := parseKeep(strings.TrimSpace(text))
		if !ok || err != nil || j.Local() == "" || !timed {
			return nil, fmt.Errorf("retention.exceptions: %q: write it like alice@example.org=30d", e)
		}
		out[j.Bare().String()] = keep
	}
	return out, nil
}

// parseKeep reads 30d, 12h or 0.
func parseKeep(s string) (time.Duration, bool) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n int
		if _, err := fmt.Sscanf(days, "%d", &n); err != nil || n < 0 || fmt.Sprint(n) != days {
			return 0, false
		}
		return time.Duration(n) * 24 * time.Hour, true
	}
	d, err := time.ParseDuration(s)
	return d, err == nil && d >= 0
}

// keep is how long the messages of an archive's owner are kept, 0 for ever.
func (c RetentionConfig) keep(owner, roomDomain string, rules map[string]time.Duration) time.Duration {
	if d, ok := rules[owner]; ok {
		return d
	}
	if strings.HasSuffix(owner, "@"+roomDomain) {
		return c.Rooms
	}
	return c.Messages
}

// expireMessages removes what is older than the rules allow, until the server stops.
func (s *server) expireMessages(context.Context) error {
	rules, err := s.cfg.Retention.rules()
	if err != nil || s.cfg.Retention.Messages == 0 && s.cfg.Retention.Rooms == 0 && len(rules) == 0 {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for wait := firstExpire; ; wait = expireEvery {
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
			if n, err := s.expireNow(ctx, rules, time.Now()); err != nil && ctx.Err() == nil {
				s.log.Error("old messages not removed", "err", err)
			} else if n > 0 {
				s.log.Info("old messages removed", "messages", n)
			}
		}
	})
	s.onStop(func(context.Context) { cancel(); wg.Wait() })
	return nil
}

// expireNow goes through all archives once.
func (s *server) expireNow(ctx context.Context, rules map[string]time.Duration, now time.Time) (removed int, err error) {
	owners, err := s.archive.Owners(ctx)
	if err != nil {
		return 0, err
	}
	for _, o := range owners {
		keep := s.cfg.Retention.keep(o, s.meetings.rooms.Domain(), rules)
		if keep == 0 {
			continue
		}
		n, err := s.archive.Expire(ctx, o, now.Add(-keep))
		if removed += n; err != nil {
			return removed, err
		}
	}
	return removed, nil
}
