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
	"strings"
)

const (
	version = 1
	// maxFile bounds what is read and written: many times the largest cursor that is to be expected, about 1 MB.
	maxFile = 16 << 20
)

// castagnoli: the checksum is against torn and rotten files, not against forgers, and is to cost next to nothing.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// file is a checkpoint file.
type file struct {
	Version int    `json:"version"`
	Stream  Stream `json:"stream"`         // canonical
	Boot    string `json:"boot,omitempty"` // the machine's at the time
	kept
	Older *kept `json:"older,omitempty"`
}

// encode returns the file: a JSON object, a member a line, and within the cursor again a member a line.
func encode(st Stream, boot string, k kept, older *kept) ([]byte, error) {
	head, err := json.MarshalIndent(file{Version: version, Stream: st, Boot: boot, kept: kept{SavedAt: k.SavedAt, Checksum: k.Checksum}}, "", "  ")
	if err != nil {
		return nil, err
	}
	data := make([]byte, 0, len(head)+2*len(k.Cursor)+len(k.Cursor)/16+256)
	data = append(data, bytes.TrimSuffix(head, []byte("\n}"))...)
	data = append(data, ",\n  \"cursor\": "...)
	data = spread(data, k.Cursor)
	if older != nil {
		head, err := json.Marshal(kept{SavedAt: older.SavedAt, Checksum: older.Checksum})
		if err != nil {
			return nil, err
		}
		data = append(append(data, ",\n  \"older\": "...), bytes.TrimSuffix(head, []byte("}"))...)
		data = append(append(append(data, ",\"cursor\":"...), older.Cursor...), '}')
	}
	data = append(data, "\n}\n"...)
	if len(data) > maxFile {
		return nil, fmt.Errorf("it would have %d bytes: the limit is %d", len(data), maxFile)
	}
	return data, nil
}

// decode reads what encode wrote for the stream want. On success the value into points to is replaced as a whole;
// otherwise it is left as it is.
func decode(data []byte, want Stream, into any) (f file, err error) {
	var v struct{ Version int }
	if err := json.Unmarshal(data, &v); err != nil {
		return f, fmt.Errorf("torn, or not a checkpoint: %v", err)
	}
	if v.Version != version {
		return f, fmt.Errorf("it has version %d: this build reads version %d", v.Version, version)
	}
	if err := json.Unmarshal(data, &f); err != nil {
		return f, fmt.Errorf("not a checkpoint: %v", err)
	}
	if f.Stream != want {
		return f, fmt.Errorf("it belongs to another stream, %q", f.Stream)
	}
	for _, k := range []*kept{&f.kept, f.Older} {
		if k == nil {
			continue
		}
		var raw bytes.Buffer
		if err := json.Compact(&raw, k.Cursor); err != nil || raw.String() == "null" {
			return f, errors.New("it has no cursor")
		}
		k.Cursor = raw.Bytes()
		if sum := checksum(k.Cursor); k.Checksum != sum {
			return f, fmt.Errorf("its cursor was changed or damaged: checksum %q, want %q", k.Checksum, sum)
		}
	}
	if f.Older != nil {
		// Whether it is the one to go on from is not known here.
		if err := f.Older.decode(reflect.New(reflect.TypeOf(into).Elem()).Interface()); err != nil {
			return f, fmt.Errorf("its older cursor cannot be used: %v", err)
		}
	}
	if err := f.decode(into); err != nil {
		return f, fmt.Errorf("its cursor cannot be used: %v", err)
	}
	return f, nil
}

// read decodes the file at path, which must be a regular one of at most 16 MiB.
func read(path string, want Stream, into any) (f file, err error) {
	opened, err := os.OpenFile(path, os.O_RDONLY|asIs, 0)
	if err != nil {
		return f, linked(path, err)
	}
	defer opened.Close()
	info, err := ownFile(opened)
	if err != nil {
		return f, err
	}
	if info.Size() > maxFile {
		return f, fmt.Errorf("it has %d bytes: the limit is %d", info.Size(), maxFile)
	}
	data, err := io.ReadAll(io.LimitReader(opened, maxFile))
	if err != nil {
		return f, err
	}
	f, err = decode(data, want, into)
	return f, brief(err)
}

// brief shortens an error that quotes what a damaged file holds, up to 16 MiB, so that what follows it in a log line,
// how far back the previous generation goes and what the operator can do, is not cut off.
func brief(err error) error {
	const most = 300 // bytes
	if err == nil || len(err.Error()) <= most {
		return err
	}
	return errors.New(strings.ToValidUTF8(err.Error()[:most], "") + " ...")
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
