package brewery

import "sync"

// maxWaiting requests may wait, in all and so of one conference: some seconds of a busy focus. More are refused.
const maxWaiting = 1000

// serial runs jobs: those of one key one after another, in order, those of different keys at the same time. A key has a goroutine while
// it has jobs.
type serial struct {
	mu      sync.Mutex // guards all below
	jobs    map[string][]func()
	waiting int
	running sync.WaitGroup
}

// do queues a job; false: there are too many.
func (s *serial) do(key string, job func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting >= maxWaiting {
		return false
	}
	if s.jobs == nil {
		s.jobs = map[string][]func(){}
	}
	list, busy := s.jobs[key]
	s.jobs[key] = append(list, job)
	s.waiting++
	if !busy {
		s.running.Go(func() { s.run(key) })
	}
	return true
}

func (s *serial) run(key string) {
	for {
		s.mu.Lock()
		list := s.jobs[key]
		if len(list) == 0 {
			delete(s.jobs, key)
			s.mu.Unlock()
			return
		}
		s.jobs[key] = list[1:]
		s.waiting--
		s.mu.Unlock()
		list[0]()
	}
}

// wait is for the end: it returns when nothing runs any more.
func (s *serial) wait() { s.running.Wait() }
