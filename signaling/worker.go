package signaling

import (
	"context"
	"errors"

	"konzil/signaling/colibri"
)

// maxJobs waiting for the bridge: some per member. Above it sessions would be minutes behind, so the job is refused as if the
// bridge were not there.
const maxJobs = 8192

var errBusy = errors.New("too many questions wait for the bridge")

// ask queues a question to the bridge and calls done on the meeting's goroutine with the answer. Questions of one meeting are asked in
// order, so a later one may rely on an earlier. done may be nil.
func (m *meeting) ask(ep colibri.Endpoint, done func(*colibri.ConferenceModified, error)) {
	finish := func(r *colibri.ConferenceModified, err error) {
		if err != nil {
			m.f.count.bridgeErrors.Add(1)
		}
		m.post(func() {
			if err != nil {
				m.bridgeError(err)
			}
			if done != nil {
				done(r, err)
			}
		})
	}
	id := m.id
	job := func() {
		// Only the worker reads and writes created. An endpoint can only be created in a conference, others need none.
		mod := &colibri.ConferenceModify{MeetingID: id, Name: m.room.String(), Endpoints: []colibri.Endpoint{ep}}
		if !m.created {
			switch {
			case ep.Expire:
				finish(&colibri.ConferenceModified{}, nil) // it is gone, as wished
				return
			case !ep.Create:
				finish(nil, &colibri.Error{Reason: colibri.ReasonUnknownEndpoint, Endpoint: ep.ID})
				return
			}
			mod.Create = true
		}
		r, err := m.modify(mod)
		if isReason(err, colibri.ReasonConferenceExists) { // left over from an earlier focus
			if _, err = m.modify(&colibri.ConferenceModify{MeetingID: id, Expire: true}); err == nil {
				r, err = m.modify(mod)
			}
		}
		switch {
		case err == nil:
			m.created = true
		case isReason(err, colibri.ReasonConferenceNotFound):
			m.created = false
		}
		finish(r, err)
	}
	if !m.jobs.put(job, maxJobs) {
		finish(nil, errBusy)
	}
}

func isReason(err error, r colibri.Reason) bool {
	var ce *colibri.Error
	return errors.As(err, &ce) && ce.Reason == r
}

func (m *meeting) modify(mod *colibri.ConferenceModify) (*colibri.ConferenceModified, error) {
	ctx, cancel := context.WithTimeout(context.Background(), m.f.cfg.BridgeTimeout)
	defer cancel()
	return m.f.bridge.Modify(ctx, mod)
}

// expireConference is the worker's last job.
func (m *meeting) expireConference() {
	id := m.id
	m.jobs.put(func() {
		if !m.created {
			return
		}
		if _, err := m.modify(&colibri.ConferenceModify{MeetingID: id, Expire: true}); err != nil {
			m.log.Warn("bridge did not end the conference", "err", err)
		}
	}, maxJobs+1)
	m.jobs.close()
}

// bridgeError looks at what a refusal means for the whole meeting.
func (m *meeting) bridgeError(err error) {
	if m.ended {
		return
	}
	m.log.Warn("bridge refused", "err", err)
	var ce *colibri.Error
	if !errors.As(err, &ce) {
		return
	}
	switch ce.Reason {
	case colibri.ReasonConferenceNotFound: // it was restarted, or forgot us: everybody again
		for _, mem := range m.members {
			if mem.session != nil && mem.session.state != allocating {
				m.reinvite(mem, "the bridge lost the conference")
			}
		}
	case colibri.ReasonUnknownEndpoint:
		if mem := m.members[ce.Endpoint]; mem != nil && mem.session != nil && mem.session.state != allocating {
			m.reinvite(mem, "the bridge lost the endpoint")
		}
	}
}
