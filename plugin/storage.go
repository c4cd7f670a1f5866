package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

const (
	// reserve is what stays free on the volume of Fluent Bit's chunks, in bytes, or in batches of batch_size where those are
	// more: for what was handed over and is not written yet, by this input and by others, for an event of a whole page and
	// filters that enlarge it, and for the checkpoints, which are to be on that volume. Of a small volume it is a part.
	reserve        = 32 << 20
	reserveBatches = 16
	reservePart    = 4
	// handPart is the part of the reserve that is handed over at once. Fluent Bit adds it to a chunk, which it lets grow by
	// 32 KiB at a time (lib/chunkio/src/cio_file.c), normally within 250 ms. So two inputs may go on for two seconds until
	// the first of it is written.
	handPart = 8
	// reserveFiles is the same in files. A batch takes one at most.
	reserveFiles = 64
	// statWait is how long Collect waits for the volume's state: a network's that is out of reach takes for ever. It is a
	// system call from memory otherwise.
	statWait = 20 * time.Millisecond
	// steady is how long there must be room until that is said, since a volume that is about full is so on and off.
	steady = 10 * time.Second

	seekEvery = 50 * time.Millisecond
	seekFor   = time.Second      // behind a hand-over
	seekOften = 10               // times; the input has memory storage, or its chunks are too quick
	seekAgain = 10 * time.Minute // from then on
)

// volume is where chunks are written, as statfs tells it. Both sizes 0: it does not tell.
type volume struct {
	bytes, free      uint64 // free: of what is not kept for root
	files, freeFiles uint64
}

// room is how many bytes may be handed over at once, up to limit; 0 for none.
func (v volume) room(limit, batchSize int) int {
	kept := min(uint64(max(reserve, reserveBatches*batchSize)), v.bytes/reservePart)
	switch {
	case v.files > 0 && v.freeFiles < min(reserveFiles, v.files/reservePart), v.free < kept:
		return 0
	case v.bytes == 0:
		return limit
	}
	return min(limit, max(batchPart, int(kept/handPart)))
}

func (v volume) String() string {
	return fmt.Sprintf("%d of its %d KiB and %d of its %d files are free", v.free>>10, v.bytes>>10, v.freeFiles, v.files)
}

// storage keeps an input from handing over what Fluent Bit could not store: a batch for which its disk has no room it
// counts, and drops (src/flb_input_chunk.c:input_chunk_append_raw). No plugin is told where that disk is. But chunks
// are open files of this very process, named storage.path/duo.0/*.flb. Until one is seen, they are presumed to be on the
// volume of the checkpoints; where none is seen behind the first hand-overs, as with memory storage, there is room.
type storage struct {
	batchSize int
	log       *slog.Logger
	find      func() string // the folder of the input's chunks; "" while none is open
	stat      func(folder string) (volume, error)
	sent      chan struct{} // wakes seek
	lacked    time.Time     // Collect's: when room was lacking last; zero: that is over

	mu      sync.Mutex // guards what follows
	folder  string     // on the chunks' volume; "" if there is no telling
	found   bool       // a chunk is in it
	asking  bool       // stat has not returned yet
	last    volume     // by its last word
	lastErr error
}

func newStorage(name, presumed string, batchSize int, log *slog.Logger) *storage {
	return &storage{
		batchSize: batchSize, log: log, sent: make(chan struct{}, 1), folder: presumed,
		find: func() string { return chunkFolder(name) }, stat: statVolume, lastErr: errNotAsked,
	}
}

var errNotAsked = errors.New("not asked yet")

// look looks for a chunk, once, and reports whether one was ever seen.
func (s *storage) look() bool {
	folder := s.find()
	s.mu.Lock()
	defer s.mu.Unlock()
	if folder != "" {
		s.folder, s.found = folder, true
	}
	return s.found
}

// seen reports whether a chunk was ever seen.
func (s *storage) seen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.found
}

// seek looks for a chunk behind hand-overs, until one was seen or the context ends. Where outputs are quick, a chunk
// lives for less than the second between two callbacks, and is never there in one.
func (s *storage) seek(ctx context.Context) {
	for often := 1; !s.look(); often++ {
		select {
		case <-ctx.Done():
			return
		case <-s.sent:
		}
		for range seekFor / seekEvery {
			if s.look() || !pause(ctx, seekEvery) {
				return
			}
		}
		if often < seekOften {
			continue
		}
		s.mu.Lock()
		s.folder = ""
		s.mu.Unlock()
		if !pause(ctx, seekAgain) {
			return
		}
	}
}

// now is the volume as it stands, and how many bytes may be handed over; limit
// where nothing is known.
func (s *storage) now(limit int) (folder string, v volume, room int) {
	s.mu.Lock()
	folder = s.folder
	s.mu.Unlock()
	if folder == "" {
		return "", v, limit
	}
	v, err := s.ask(folder)
	if err != nil {
		return folder, v, limit
	}
	return folder, v, v.room(limit, s.batchSize)
}

// ask is stat, or where that hangs what it said last. It runs beside Collect,
// which is to wait for no disk, and once at a time: one that hangs is left
// behind, also at an end, until the system call returns.
func (s *storage) ask(folder string) (volume, error) {
	s.mu.Lock()
	if s.asking {
		defer s.mu.Unlock()
		return s.last, s.lastErr
	}
	s.asking = true
	s.mu.Unlock()
	told := ended(func() {
		v, err := s.stat(folder)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asking, s.last, s.lastErr = false, v, err
	})
	select {
	case <-told:
	case <-time.After(statWait):
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last, s.lastErr
}

// handOver is to be called behind each hand-over.
func (s *storage) handOver() { wake(s.sent) }

// lacks reports whether room is lacking, or was until lately.
func (s *storage) lacks() bool { return !s.lacked.IsZero() }

// room is how many bytes may be handed over now, up to limit; 0 for none. It says once when there is no room, and
// once when there is.
func (s *storage) room(now time.Time, limit int) int {
	folder, v, room := s.now(limit)
	if room == 0 && !s.seen() && s.look() {
		folder, v, room = s.now(limit) // of the volume that counts
	}
	switch {
	case room == 0:
		if s.lacked.IsZero() {
			s.log.Warn(fmt.Sprintf("no room for Fluent Bit's buffer on the volume of %s: %v; nothing is handed over until there is more, and the events wait at Duo: make room, or see why an output does not deliver", folder, v))
		}
		s.lacked = now
	case !s.lacked.IsZero() && now.Sub(s.lacked) >= steady:
		s.log.Info(fmt.Sprintf("there is room for Fluent Bit's buffer again: %v; going on", v))
		s.lacked = time.Time{}
	}
	return room
}
