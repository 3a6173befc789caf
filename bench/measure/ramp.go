package measure

import (
	"context"
)

// Ramp says how the knee is looked for: the scale doubles from Start until a gate is not kept, then the gap is halved until it is smaller
// than Resolution of the scale.
type Ramp struct {
	Start      int     // first scale; 0 is Plan.Scale
	Resolution float64 // 0 is defaultResolution
	Tries      int     // how often a scale may fail before it counts as too much; 0 is defaultTries
}

// Defaults of Ramp. A second try tells a knee from a hiccup of the machine.
const (
	defaultResolution = 0.05
	defaultTries      = 2
)

// findKnee looks for the largest scale at which try succeeds, up to limit (0: none). It returns 0 when none does. Try tells whether a scale
// was kept; an error ends the search.
func findKnee(start, limit int, resolution float64, try func(scale int) (bool, error)) (int, error) {
	good, bad := 0, 0 // good was kept, bad was not; 0 is none yet
	for scale := max(start, 1); ; {
		if limit > 0 {
			scale = min(scale, limit)
		}
		ok, err := try(scale)
		if err != nil {
			return good, err
		}
		if ok {
			good = scale
		} else {
			bad = scale
		}
		switch {
		case bad == 0 && limit > 0 && good >= limit:
			return good, nil
		case bad == 0:
			scale = good * 2
		case bad-good <= 1 || float64(bad-good) <= resolution*float64(bad):
			return good, nil
		default:
			scale = (good + bad) / 2
		}
	}
}

// ramp finds the knee of each server.
func (d *driver) ramp(ctx context.Context) error {
	start, resolution, tries := d.Ramp.Start, d.Ramp.Resolution, d.Ramp.Tries
	if start == 0 {
		start = d.Plan.Scale
	}
	if resolution == 0 {
		resolution = defaultResolution
	}
	if tries == 0 {
		tries = defaultTries
	}
	number := 0
	for _, s := range d.Servers {
		k := &Knee{}
		d.knees[s.Name] = k
		var err error
		k.Scale, err = findKnee(start, d.Plan.MaxScale, resolution, func(scale int) (bool, error) {
			for range tries {
				number++
				rs := d.round(ctx, s, number, scale)
				d.add(rs)
				if ctx.Err() != nil {
					return false, context.Cause(ctx)
				}
				failed := failures(rs)
				k.Steps = append(k.Steps, KneeStep{Scale: scale, Kept: len(failed) == 0, Failed: failed})
				if len(failed) == 0 {
					return true, nil
				}
				k.Limit = failed[0]
			}
			return false, nil
		})
		if err != nil {
			return err
		}
		if k.Limit == "" {
			k.Limit = "the largest scale that was allowed"
		}
		if err := d.stop(s.Name); err != nil { // the next server has the machine to itself
			d.report.Notes = append(d.report.Notes, err.Error())
		}
	}
	return nil
}

// failures is all that went wrong in rs.
func failures(rs []Round) []string {
	var out []string
	for i := range rs {
		if rs[i].Error != "" {
			out = append(out, rs[i].Error)
		}
		out = append(out, rs[i].Failed...)
	}
	return out
}
