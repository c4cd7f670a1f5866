package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"reflect"
	"syscall"
	"time"
)

const (
	version = 1
	// maxFile bounds what is read and written: many times the largest cursor that is to be expected, about 1 MB.
	maxFile = 16 << 20
	// asIs: no symbolic link is followed, and a named pipe in the file's place does not block the open.
	asIs = syscall.O_NOFOLLOW | syscall.O_NONBLOCK
)

// castagnoli: the checksum is against torn and rotten files, not against forgers, and is to cost next to nothing.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header is all of a checkpoint file but its last member, the cursor.
type header struct {
	Version  int       `json:"version"`
	Stream   Stream    `json:"stream"`   // canonical
	SavedAt  time.Time `json:"saved_at"` // RFC 3339, UTC, milliseconds; for the reader only
	Checksum string    `json:"checksum"` // crc32c: of the cursor's JSON without its white space
}

// encode returns the file: a JSON object, a member a line, and within the cursor again a member a line.
func encode(st Stream, at time.Time, cursor any) ([]byte, error) {
	raw, err := json.Marshal(cursor)
	if err != nil {
		return nil, err
	}
	if string(raw) == "null" {
		return nil, errors.New("the cursor is null")
	}
	head, err := json.MarshalIndent(header{version, st, at.UTC().Truncate(time.Millisecond), checksum(raw)}, "", "  ")
	if err != nil {
		return nil, err
	}
	data := make([]byte, 0, len(head)+len(raw)+len(raw)/16+64)
	data = append(data, bytes.TrimSuffix(head, []byte("\n}"))...)
	data = append(data, ",\n  \"cursor\": "...)
	data = append(spread(data, raw), "\n}\n"...)
	if len(data) > maxFile {
		return nil, fmt.Errorf("it would have %d bytes: the limit is %d", len(data), maxFile)
	}
	return data, nil
}

// decode reads what encode wrote for the stream want. On success the value into points to is replaced as a whole;
// otherwise it is left as it is.
func decode(data []byte, want Stream, into any) (saved time.Time, err error) {
	var v struct{ Version int }
	if err := json.Unmarshal(data, &v); err != nil {
		return time.Time{}, fmt.Errorf("torn, or not a checkpoint: %v", err)
	}
	if v.Version != version {
		return time.Time{}, fmt.Errorf("it has version %d: this build reads version %d", v.Version, version)
	}
	var file struct {
		header
		Cursor json.RawMessage `json:"cursor"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return time.Time{}, fmt.Errorf("not a checkpoint: %v", err)
	}
	if file.Stream != want {
		return time.Time{}, fmt.Errorf("it belongs to another stream, %q", file.Stream)
	}
	var raw bytes.Buffer
	if err := json.Compact(&raw, file.Cursor); err != nil || raw.String() == "null" {
		return time.Time{}, errors.New("it has no cursor")
	}
	if sum := checksum(raw.Bytes()); file.Checksum != sum {
		return time.Time{}, fmt.Errorf("its cursor was changed or damaged: checksum %q, want %q", file.Checksum, sum)
	}
	cursor := reflect.New(reflect.TypeOf(into).Elem())
	if err := json.Unmarshal(raw.Bytes(), cursor.Interface()); err != nil {
		return time.Time{}, fmt.Errorf("its cursor cannot be used: %v", err)
	}
	reflect.ValueOf(into).Elem().Set(cursor.Elem())
	return file.SavedAt, nil
}

// read decodes the file at path, which must be a regular one of at most 16 MiB.
func read(path string, want Stream, into any) (saved time.Time, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|asIs, 0)
	if err != nil {
		return time.Time{}, linked(path, err)
	}
	defer f.Close()
	info, err := ownFile(f)
	if err != nil {
		return time.Time{}, err
	}
	if info.Size() > maxFile {
		return time.Time{}, fmt.Errorf("it has %d bytes: the limit is %d", info.Size(), maxFile)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return time.Time{}, err
	}
	return decode(data, want, into)
}

func checksum(compact []byte) string {
	return fmt.Sprintf("crc32c:%08x", crc32.Checksum(compact, castagnoli))
}

// spread appends compact JSON to dst, the members of the outermost object or array on lines of their own.
// (json.Indent would cost three times the rest of a save, and would give each remembered hash a line.)
func spread(dst, compact []byte) []byte {
	if len(compact) <= 2 { // empty, or a short scalar
		return append(dst, compact...)
	}
	depth := 0
	for i := 0; i < len(compact); i++ {
		switch c := compact[i]; c {
		case '"':
			n := stringLen(compact[i:])
			dst = append(dst, compact[i:i+n]...)
			i += n - 1
		case '{', '[', ',':
			dst = append(dst, c)
			if c != ',' {
				depth++
			}
			if depth == 1 {
				dst = append(dst, "\n    "...)
			}
		case '}', ']':
			if depth--; depth == 0 {
				dst = append(dst, "\n  "...)
			}
			dst = append(dst, c)
		case ':':
			dst = append(dst, c)
			if depth == 1 {
				dst = append(dst, ' ')
			}
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// stringLen returns the length, with its quotes, of the JSON string that s begins with.
func stringLen(s []byte) int {
	for i := 1; ; i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
}
