package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"duo_in/checkpoint"
)

// clockSlack is how far Duo's clock, which times records, may be ahead of that of Duo Log Sync's machine: Duo refuses calls
// of machines that are further off.
const clockSlack = 10 * time.Minute

// parseDLSCheckpoint returns the time of the last record that Duo Log Sync sent, or a little earlier, never later. The
// shape of the JSON value tells how it was made:
//
//	["ms", "id"]  authentication: the record's millisecond
//	"ms,id"       activity, telephony: one millisecond more, and its UTC was taken for the local time of the machine
//	number        trust monitor: one millisecond more; administrator and old telephony: one second more, in seconds
//
// local says that the zone was needed.
func parseDLSCheckpoint(data []byte, zone *time.Location) (at time.Time, local bool, err error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		return at, false, fmt.Errorf("empty or torn: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return at, false, errors.New("there is more behind its value")
	}
	switch v := value.(type) {
	case []any:
		if len(v) == 0 {
			return at, false, errors.New("its list is empty")
		}
		at, err = unixTime(fmt.Sprint(v[0]), 0)
		return at, false, err
	case string:
		ms, _, _ := strings.Cut(v, ",")
		at, err = unixTime(ms, 1)
		return fromLocal(at, zone), true, err
	case json.Number:
		at, err = unixTime(v.String(), 1)
		return at, false, err
	}
	return at, false, fmt.Errorf("it holds %.20q, which is no place in a log", strings.TrimSpace(string(data)))
}

// unixTime reads a time in Unix milliseconds or seconds, less some of these units.
func unixTime(digits string, less int64) (time.Time, error) {
	n, err := strconv.ParseInt(digits, 10, 64)
	at := time.UnixMilli(n - less)
	if n < 1e11 { // in milliseconds this were 1973
		at = time.Unix(n-less, 0)
	}
	if err != nil || at.Year() < 2010 || at.Year() > 9999 { // Duo's company is of 2010
		return time.Time{}, fmt.Errorf("it holds %.20q, which is no time that a log of Duo's can have", digits)
	}
	return at.UTC(), nil
}

// fromLocal takes back that the fields of a UTC time were read as local time in zone. Where clocks were put forward, the
// hour that local time skips and the one behind it were read alike: the earlier one counts, since better a duplicate than
// a gap. (The hour that comes twice in autumn was always read as its first.)
func fromLocal(at time.Time, zone *time.Location) time.Time {
	local := at.In(zone)
	_, offset := local.Zone()
	utc := at.Add(time.Duration(offset) * time.Second)
	if start, _ := local.ZoneBounds(); !start.IsZero() {
		_, before := start.Add(-time.Second).Zone()
		if skipped := time.Duration(offset-before) * time.Second; local.Sub(start) < skipped {
			utc = utc.Add(-skipped)
		}
	}
	return utc
}

// conversion is a stream with the checkpoint that Duo Log Sync had of it.
type conversion struct {
	stream checkpoint.Stream
	file   string
	at     time.Time // of the last record sent, or a little earlier
	local  bool      // read with the zone
}

// dlsCheckpoints is what was found in Duo Log Sync's folder.
type dlsCheckpoints struct {
	found  []conversion
	notes  []string // logs that begin at since, as they must
	broken []string // files that cannot be used: logs that begin at since, as they should not
}

// readDLSCheckpoints reads the checkpoints, in dir, of the logs that c pulls. The error is for what should be put right
// first: a folder that cannot be read, a zone that cannot be the right one.
func readDLSCheckpoints(c dlsConfig, dir string, zone *time.Location) (d dlsCheckpoints, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return d, fmt.Errorf("checkpoints of Duo Log Sync: %w: give their folder with -from-checkpoints, or an empty one if there are none", err)
	}
	for _, l := range dlsLogs {
		if len(c.routes[l.log]) == 0 {
			continue
		}
		seen := 0
		for _, e := range entries {
			account, ok := l.account(e.Name())
			if !ok || (account != "") != c.msp {
				continue
			}
			seen++
			stream := checkpoint.Stream{Host: c.host, Account: account, Log: l.log}
			if err := d.add(stream, filepath.Join(dir, e.Name()), zone); err != nil {
				return d, err
			}
		}
		if seen == 0 {
			d.notes = append(d.notes, fmt.Sprintf("%s: no checkpoint %s in %s", l.log, l.fileName(c.msp), dir))
		}
	}
	return d, nil
}

func (l dlsLog) fileName(child bool) string {
	if child {
		return l.endpoint + "_checkpoint_data_<account>.txt"
	}
	return l.endpoint + "_checkpoint_data.txt"
}

var accountID = regexp.MustCompile(`^[0-9A-Za-z]+$`)

// account returns the account whose checkpoint of the log is in a file of this name: "" for the keys' own.
func (l dlsLog) account(name string) (id string, ok bool) {
	if name == l.fileName(false) {
		return "", true
	}
	rest, ok := strings.CutPrefix(name, l.endpoint+"_checkpoint_data_")
	id, txt := strings.CutSuffix(rest, ".txt")
	return id, ok && txt && accountID.MatchString(id)
}

// add reads one file.
func (d *dlsCheckpoints) add(stream checkpoint.Stream, file string, zone *time.Location) error {
	data, written, err := readSmall(file)
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("checkpoint of Duo Log Sync: %w: make it readable for this user, or give a copy (cp -p) with -from-checkpoints", err)
	}
	if err != nil {
		d.broken = append(d.broken, fmt.Sprintf("%s: %v", file, err))
		return nil
	}
	at, local, err := parseDLSCheckpoint(data, zone)
	late := at.Sub(written) > clockSlack
	switch {
	case err != nil:
		d.broken = append(d.broken, fmt.Sprintf("%s: %v", file, err))
	case local && stream.Account != "":
		// Duo Log Sync calls these logs without the account's id.
		d.notes = append(d.notes, fmt.Sprintf("%s of account %s: Duo Log Sync never read it, but the parent account's in its place", stream.Log, stream.Account))
	case late && local:
		return fmt.Errorf("%s: in the time zone %s it leads to %s, which is after it was written, at %s: give -timezone, the zone of the machine that ran Duo Log Sync",
			file, zoneName(zone), at.Format(time.RFC3339), written.UTC().Format(time.RFC3339))
	case late:
		d.broken = append(d.broken, fmt.Sprintf("%s: it leads to %s, which is after it was written, at %s: a clock was wrong, or the file was copied without its time (cp -p keeps it)",
			file, at.Format(time.RFC3339), written.UTC().Format(time.RFC3339)))
	default:
		d.found = append(d.found, conversion{stream, file, at, local})
	}
	return nil
}

// readSmall reads a regular file of at most 4 KiB, and says when it was written.
func readSmall(file string) (data []byte, written time.Time, err error) {
	const most = 4 << 10
	info, err := os.Lstat(file)
	switch {
	case err != nil:
		return nil, written, err
	case info.Mode()&fs.ModeType != 0 || info.Size() > most: // a pipe would hold this up, a link could lead anywhere
		return nil, written, fmt.Errorf("not a regular file of at most %d bytes", most)
	}
	data, err = os.ReadFile(file)
	return data, info.ModTime(), err
}
