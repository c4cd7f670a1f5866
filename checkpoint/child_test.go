package checkpoint

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Another process is this test binary again, told by the environment what to do in which folder.
const childEnv, childDirEnv = "CHECKPOINT_TEST_CHILD", "CHECKPOINT_TEST_DIR"

func TestMain(m *testing.M) {
	if role := os.Getenv(childEnv); role != "" {
		if err := beChild(role, os.Getenv(childDirEnv)); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

const savesTraced = 3 // how often the child saves

// beChild plays a role as the owner of auth in the store at dir.
func beChild(role, dir string) error {
	if role == "steps" {
		return steps(dir)
	}
	s, err := Open(dir)
	if err != nil {
		return err
	}
	if role == "all" || role == "some" { // until standard input ends
		f, err := s.AcquireFamily(context.Background(), auth, role == "all", "[INPUT] child.0")
		if err != nil {
			return err
		}
		if _, err := f.Acquire(context.Background(), "DA1"); err != nil {
			return err
		}
		fmt.Println("held")
		_, err = io.Copy(io.Discard, os.Stdin)
		return err
	}
	sl, err := s.Acquire(context.Background(), auth, "[INPUT] child.0")
	if err != nil {
		return err
	}
	var n int
	if _, err := sl.Load(&n); err != nil {
		return err
	}
	switch role {
	case "hold": // until standard input ends
		fmt.Println("held")
		io.Copy(io.Discard, os.Stdin)
		return sl.Release()
	case "save": // until killed
		for ; ; n++ {
			if err := sl.Save(n); err != nil {
				return err
			}
			fmt.Println(n)
		}
	case "some saves":
		for range savesTraced {
			n++
			if err := sl.Save(n); err != nil {
				return err
			}
			fmt.Println("saved", n)
		}
		return sl.Release()
	case "full": // the system refuses to write more than 4 KiB to a file, as a full disk would
		if err := limitFiles(4096); err != nil {
			return err
		}
		return sl.Save(strings.Repeat("x", 8192))
	case "forbidden":
		if err := os.Chmod(sl.folder, 0o500); err != nil {
			return err
		}
		if os.Getuid() == 0 { // whom no mode keeps out
			if err := becomeNobody(); err != nil {
				return err
			}
		}
		return sl.Save(n)
	}
	return fmt.Errorf("no role %q", role)
}

type child struct {
	*exec.Cmd
	lines *bufio.Scanner
	stdin io.Closer
}

// spawn starts a child; it is killed at the end of the test, at the latest.
func spawn(t *testing.T, role, dir string) *child {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	// A race detector would wait for a second at the end.
	cmd.Env = append(os.Environ(), childEnv+"="+role, childDirEnv+"="+dir, "GORACE=atexit_sleep_ms=0")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return &child{cmd, bufio.NewScanner(out), in}
}

// line returns the child's next line, or "" at the end.
func (c *child) line() string {
	c.lines.Scan()
	return c.lines.Text()
}
