package xmpp

import (
	"encoding/base64"
	"slices"
	"strconv"
	"strings"

	"konzil/xmpp/stanza"
)

const (
	nsUpgrade      = "urn:xmpp:sasl:upgrade:0"
	nsSCRAMUpgrade = "urn:xmpp:scram-upgrade:0"

	// upgradePrefix names the task that makes keys for a mechanism (XEP-0480 §2.1).
	upgradePrefix = "UPGR-"
)

// upgradeFeatures are the tasks that a client may ask for, the same for all: what an account lacks is not told to strangers.
func (st *stream) upgradeFeatures() (out []*stanza.Element) {
	if st.srv.cfg.Upgrades == nil || st.domain != st.srv.cfg.Domain || !st.wire.secure() {
		return nil
	}
	for _, m := range scramMechanisms {
		out = append(out, stanza.TextElement(nsUpgrade, "upgrade", upgradePrefix+m))
	}
	return out
}

// upgrade performs the tasks that authenticate asks for and the account is in need of (XEP-0480 §2.2). data is what success would have
// carried; done tells that the client has it already.
func (st *stream) upgrade(authenticate *stanza.Element, data []byte) (done bool, err error) {
	asked := authenticate.ChildrenNamed(nsUpgrade, "upgrade")
	if len(asked) == 0 || st.srv.cfg.Upgrades == nil || st.bare.Domain() != st.srv.cfg.Domain {
		return false, nil
	}
	missing, err := st.srv.cfg.Upgrades.Missing(st.srv.ctx, st.bare.Local())
	if err != nil { // the login is good all the same
		st.srv.log.Error("missing keys not known", "jid", st.bare.String(), "err", err)
		return false, nil
	}
	for _, e := range asked {
		task := strings.TrimSpace(e.Text())
		hash, ok := strings.CutPrefix(task, upgradePrefix+"SCRAM-")
		i := slices.Index(missing, hash)
		if !ok || i < 0 {
			continue
		}
		missing = slices.Delete(missing, i, i+1)
		if done {
			data = nil
		}
		if err := st.upgradeTask(task, hash, data); err != nil {
			return done, err
		}
		done = true
	}
	return done, nil
}

// upgradeTask has the client salt its password (XEP-0480 §3).
func (st *stream) upgradeTask(task, hash string, data []byte) error {
	next := stanza.NewElement(nsSASL2, "continue")
	if data != nil {
		next.Add(stanza.TextElement(nsSASL2, "additional-data", base64.StdEncoding.EncodeToString(data)))
	}
	next.Add(stanza.NewElement(nsSASL2, "tasks").Add(stanza.TextElement(nsSASL2, "task", task)))
	if err := st.sendElement(next); err != nil {
		return err
	}
	e, err := st.nextTask("next")
	if err != nil {
		return err
	}
	if e.Attr("task") != task {
		return stanza.NewStreamError("not-authorized", "another task is to be done")
	}
	salt, iterations := st.srv.cfg.Upgrades.UpgradeSalt()
	if err := st.sendElement(stanza.NewElement(nsSASL2, "task-data").Add(
		stanza.TextElement(nsSCRAMUpgrade, "salt", base64.StdEncoding.EncodeToString(salt), "iterations", strconv.Itoa(iterations)))); err != nil {
		return err
	}
	if e, err = st.nextTask("task-data"); err != nil {
		return err
	}
	salted, err := base64.StdEncoding.DecodeString(strings.TrimSpace(e.Child(nsSCRAMUpgrade, "hash").Text()))
	if err == nil {
		err = st.srv.cfg.Upgrades.Upgrade(st.srv.ctx, st.bare.Local(), hash, salt, iterations, salted)
	}
	if err != nil {
		st.srv.log.Warn("keys not upgraded", "jid", st.bare.String(), "hash", hash, "err", err)
		return stanza.NewStreamError("not-authorized", "that is no salted password")
	}
	st.srv.log.Info("keys upgraded", "jid", st.bare.String(), "hash", hash)
	return nil
}

// nextTask reads one step of a task.
func (st *stream) nextTask(local string) (*stanza.Element, error) {
	it, err := st.wire.next()
	if err != nil {
		return nil, err
	}
	if it.Elem == nil || it.Elem.Name != (stanza.Name{Space: nsSASL2, Local: local}) {
		return nil, stanza.NewStreamError("not-authorized", "a task is to be done first")
	}
	return it.Elem, nil
}
