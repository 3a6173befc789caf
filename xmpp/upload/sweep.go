package upload

import (
	"context"
	"os"
	"time"
)

// Start begins to remove what has expired; Stop ends it.
func (s *Service) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	s.running.Go(func() {
		t := time.NewTicker(sweepEvery)
		defer t.Stop()
		for {
			s.sweep(ctx)
			select {
			case <-ctx.Done():
				return
			case <-t.C:
			}
		}
	})
}

// Stop waits for the sweep that is under way.
func (s *Service) Stop() {
	if s.stop != nil {
		s.stop()
		s.running.Wait()
	}
}

// sweep removes expired files, and files that are in no row.
func (s *Service) sweep(ctx context.Context) {
	if err := s.remove(ctx, `expires IS NOT NULL AND expires <= ?`, s.cfg.now().Unix()); err != nil && ctx.Err() == nil {
		s.failed("expired files not removed", err)
	}
	folders, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		s.failed("folder not read", err)
		return
	}
	for _, d := range folders {
		if !d.IsDir() || len(d.Name()) != 2 {
			continue
		}
		files, err := os.ReadDir(s.dir(d.Name()))
		if err != nil {
			s.failed("folder not read", err)
			continue
		}
		for _, f := range files {
			if ctx.Err() != nil {
				return
			}
			s.orphan(ctx, d.Name(), f)
		}
	}
}

// orphan removes a file that nobody can fetch. A young one may be on its way into the database.
func (s *Service) orphan(ctx context.Context, folder string, f os.DirEntry) {
	info, err := f.Info()
	if err != nil || s.cfg.now().Sub(info.ModTime()) < time.Hour {
		return
	}
	if _, there, err := s.file(ctx, f.Name()); err != nil || there {
		return
	}
	s.unlink(s.dir(folder, f.Name()))
	s.count.orphans.Add(1)
}

func (s *Service) unlink(name string) {
	if err := ignoreMissing(os.Remove(name)); err != nil {
		s.failed("file not removed", err)
	}
}
