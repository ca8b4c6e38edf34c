package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tenonhq/tenon/internal/config"
)

const (
	// startTimeout is how long a server may take to be ready.
	startTimeout = 60 * time.Second
	stopTimeout  = 30 * time.Second
	// pollEndpoints is the resolution with which the start of `tenon up` is
	// timed.
	pollEndpoints = time.Millisecond
)

// process is a server in a child process.
type process struct {
	role    string
	cmd     *exec.Cmd
	exited  chan error
	address string
	dataDir string
	started time.Duration // from exec until it was ready
}

// startChild runs this program's own open or secured server.
func startChild(ctx context.Context, role, dataDir string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{role: role, cmd: exec.CommandContext(ctx, self, childCommand, role, dataDir), exited: make(chan error, 1), dataDir: dataDir}
	p.cmd.Stderr = os.Stderr
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	p.started = time.Since(began)
	go func() { p.exited <- p.cmd.Wait() }()
	address, ok := strings.CutPrefix(strings.TrimSpace(line), readyPrefix)
	if err != nil || !ok {
		return nil, errors.Join(fmt.Errorf("%s server: not ready: %q: %w", role, line, err), p.stop())
	}
	p.address = address
	return p, nil
}

// startTenon runs a command of the product that lasts, as people run it, until
// it is ready.
func startTenon(ctx context.Context, binary, dataDir string, env []string, command string, flags ...string) (*process, error) {
	args := append([]string{command, "--data-dir", dataDir}, flags...)
	p := &process{role: command, cmd: exec.CommandContext(ctx, binary, args...), exited: make(chan error, 1), dataDir: dataDir}
	said, err := os.Create(dataDir + ".log")
	if err != nil {
		return nil, err
	}
	p.cmd.Stderr, p.cmd.Env = said, append(os.Environ(), env...)
	began := time.Now()
	err = errors.Join(p.cmd.Start(), said.Close())
	if err != nil {
		return nil, err
	}
	go func() { p.exited <- p.cmd.Wait() }()
	ready := time.NewTicker(pollEndpoints)
	defer ready.Stop()
	late := time.NewTimer(startTimeout)
	defer late.Stop()
	for {
		switch _, err := os.Stat(filepath.Join(dataDir, config.EndpointsFile)); {
		case err == nil:
			p.started = time.Since(began)
			return p, nil
		case !errors.Is(err, fs.ErrNotExist):
			return nil, errors.Join(err, p.stop())
		}
		select {
		case <-ready.C:
		case err := <-p.exited:
			text, readErr := os.ReadFile(said.Name())
			return nil, errors.Join(fmt.Errorf("tenon %s ended before it was ready: %w\n%s", command, err, text), readErr)
		case <-late.C:
			return nil, errors.Join(fmt.Errorf("tenon %s was not ready in time", command), p.stop())
		}
	}
}

// stop ends the process as Ctrl-C does.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case err := <-p.exited:
		return err
	case <-time.After(stopTimeout):
		return errors.Join(errors.New("it did not stop in time"), p.cmd.Process.Kill())
	}
}

// residentMiB is the process's resident memory.
func (p *process) residentMiB() (float64, error) {
	pid := strconv.Itoa(p.cmd.Process.Pid)
	text, err := exec.Command("ps", "-o", "rss=", "-p", pid).Output()
	if err != nil {
		return 0, fmt.Errorf("ps: %w", err)
	}
	kib, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
	if err != nil {
		return 0, fmt.Errorf("ps: %w", err)
	}
	return kib / 1024, nil
}
