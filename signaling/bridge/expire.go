package bridge

import "time"

// What a focus on another machine forgets, because it is gone itself, ends here (Config.ExpireAfter).

// watch expires ep if its transport is not up in time.
func (c *conference) watch(ep *endpoint) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watchLocked(ep)
}

func (c *conference) watchLocked(ep *endpoint) {
	if c.b.cfg.ExpireAfter == 0 || ep.dead != nil || ep.gone {
		return
	}
	ep.dead = time.AfterFunc(c.b.cfg.ExpireAfter, func() {
		c.modify.Lock()
		defer c.modify.Unlock()
		if c.endpoint(ep.id) != ep {
			return
		}
		c.log.Info("endpoint has no transport and is expired", "endpoint", ep.id)
		c.b.count.expired.Add(1)
		c.expire(ep)
	})
}

// alive tells that ep's transport is up; c.mu is held.
func (c *conference) alive(ep *endpoint) {
	if ep.dead != nil {
		ep.dead.Stop()
		ep.dead = nil
	}
}

// watchEmpty ends the conference if it has no endpoint and gets none in time.
func (c *conference) watchEmpty() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.b.cfg.ExpireAfter == 0 || c.closed || len(c.endpoints) > 0 {
		return
	}
	if c.empty != nil {
		c.empty.Reset(c.b.cfg.ExpireAfter)
		return
	}
	c.empty = time.AfterFunc(c.b.cfg.ExpireAfter, func() {
		c.mu.Lock()
		empty := len(c.endpoints) == 0
		c.mu.Unlock()
		if empty {
			c.b.count.expired.Add(1)
			c.b.remove(c)
		}
	})
}
