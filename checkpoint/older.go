package checkpoint

import (
	"encoding/json"
	"errors"
	"reflect"
	"time"
)

// olderBy is how much older the cursor is, at least, that each file has beside its own: for when the machine went down,
// since a checkpoint is synced to the disk, and what Fluent Bit wrote to its buffer is by default only in the page cache.
// From there it reaches the disk within 35 s (Linux: vm.dirty_expire_centisecs and dirty_writeback_centisecs), and the file
// system's own note of it up to 30 s later (XFS, Btrfs; ext4 5 s).
const olderBy = 90 * time.Second

// kept is a cursor as it is stored.
type kept struct {
	SavedAt  time.Time       `json:"saved_at"`         // RFC 3339, UTC, milliseconds; for the reader only
	Checksum string          `json:"checksum"`         // crc32c: of the cursor's JSON without its white space
	Cursor   json.RawMessage `json:"cursor,omitempty"` // without white space
}

func newKept(at time.Time, cursor any) (kept, error) {
	raw, err := marshal(cursor)
	if err == nil && string(raw) == "null" {
		err = errors.New("the cursor is null")
	}
	return kept{at.UTC().Truncate(time.Millisecond), checksum(raw), raw}, err
}

// marshal is json.Marshal, which a cursor that is large may be faster at itself.
func marshal(cursor any) ([]byte, error) {
	if c, ok := cursor.(interface{ CompactJSON() ([]byte, error) }); ok {
		return c.CompactJSON()
	}
	return json.Marshal(cursor)
}

// decode replaces the value into points to as a whole, or on an error leaves it as it is.
func (k kept) decode(into any) error {
	cursor := reflect.New(reflect.TypeOf(into).Elem())
	if err := json.Unmarshal(k.Cursor, cursor.Interface()); err != nil {
		return err
	}
	reflect.ValueOf(into).Elem().Set(cursor.Elem())
	return nil
}

// aging holds the cursors of one slot that grow old. The zero value knows of none.
type aging struct {
	older *kept // saved at least olderBy before all that follows, or the first ever, or chosen by the operator
	next  *kept // takes its place
	since time.Time
}

// note takes in what is saved now. Its age is told by the process's own clock, whatever the wall clock does; so what was
// saved by another process begins to age with this one's first save.
func (a *aging) note(now time.Time, k *kept) {
	switch {
	case a.next == nil:
	case now.Sub(a.since) >= olderBy:
		a.older = a.next
	default:
		return
	}
	if a.older == nil {
		a.older = k
	}
	a.next, a.since = k, now
}
