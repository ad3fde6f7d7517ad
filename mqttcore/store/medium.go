package store

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// MediumKind says what a folder is on, in words for an operator.
type MediumKind string

// The kinds of media that differ in what a commit costs, or is worth, on them.
const (
	SDCard       MediumKind = "SD card"
	EMMC         MediumKind = "eMMC"
	USBStick     MediumKind = "USB stick"
	RawFlash     MediumKind = "raw flash"
	SSD          MediumKind = "SSD"
	NVMe         MediumKind = "NVMe"
	RotatingDisk MediumKind = "rotating disk"
	VirtualDisk  MediumKind = "virtual disk"
	Memory       MediumKind = "memory"
	Network      MediumKind = "network"
	Unknown      MediumKind = "unknown medium"
)

// Medium is what a folder is on.
type Medium struct {
	Kind       MediumKind
	Device     string // name of the disk below partitions and mappings; "" where there is none
	FileSystem string // type, as in /proc/mounts
	// EraseSize is what the medium erases at a time, in bytes; 0: not told.
	EraseSize int64
}

// String names kind, device and file system.
func (m Medium) String() string {
	s := string(m.Kind)
	if m.Device != "" {
		s += " " + m.Device
	}
	if m.FileSystem != "" {
		s += " (" + m.FileSystem + ")"
	}
	return s
}

// CommitInterval is the Options.CommitInterval that suits the medium. What wears
// out by small writes gets few of them. Everything else gathers nothing on
// purpose: what comes during a commit shares the next one, and of messages that
// come singly a short interval would bring no two together.
func (m Medium) CommitInterval() time.Duration {
	switch m.Kind {
	case SDCard, USBStick, RawFlash:
		return 250 * time.Millisecond
	case EMMC:
		return 10 * time.Millisecond // what one poll brings, together
	}
	return 0
}

// Flash says that a flush of the medium cannot be quick, unless it is not one.
func (m Medium) Flash() bool { return m.Kind == SDCard || m.Kind == EMMC || m.Kind == USBStick }

// MediumOf finds out what dir is on, which need not exist yet. What the kernel
// does not tell is Unknown.
func MediumOf(dir string) Medium {
	path, err := filepath.Abs(dir)
	if err != nil {
		return Medium{Kind: Unknown}
	}
	for {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			return machine("/").medium(real, maxLayers)
		}
		if path == filepath.Dir(path) {
			return Medium{Kind: Unknown}
		}
		path = filepath.Dir(path)
	}
}

// maxLayers bounds overlays on loops on mappings on…
const maxLayers = 8

// machine is the root of the tree that has /proc, /sys and /dev.
type machine string

// mount is a line of mountinfo (proc_pid_mountinfo(5)).
type mount struct {
	point, device, fs, source, options string
}

// medium is MediumOf for an absolute path without symbolic links.
func (r machine) medium(path string, layers int) Medium {
	m, ok := r.mountOf(path)
	if !ok || layers == 0 {
		return Medium{Kind: Unknown}
	}
	found := Medium{Kind: Unknown, FileSystem: m.fs}
	switch {
	case m.fs == "tmpfs" || m.fs == "ramfs" || m.fs == "devtmpfs" || m.fs == "rootfs":
		found.Kind = Memory
	case overNetwork(m.fs):
		found.Kind = Network
	case m.fs == "ubifs" || m.fs == "jffs2" || m.fs == "yaffs2":
		found.Kind = RawFlash
	case m.fs == "overlay":
		// What is written goes to the upper folder, which a container may not see.
		if upper := m.option("upperdir"); upper != "" {
			below := r.medium(upper, layers-1)
			found.Kind, found.Device, found.EraseSize = below.Kind, below.Device, below.EraseSize
		}
	default:
		if disk := r.blockDevice(&m); disk != "" {
			below := r.disk(disk, layers-1)
			found.Kind, found.Device, found.EraseSize = below.Kind, below.Device, below.EraseSize
		}
	}
	return found
}

func overNetwork(fs string) bool {
	switch fs {
	case "nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "virtiofs", "ceph", "glusterfs", "afs", "lustre", "fuse.sshfs", "fuse.glusterfs":
		return true
	}
	return false
}

// mountOf finds the mount that path is in: the deepest, and of those on top of
// each other the newest.
func (r machine) mountOf(path string) (found mount, ok bool) {
	f, err := os.Open(filepath.Join(string(r), "proc/self/mountinfo"))
	if err != nil {
		return found, false
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		before, after, _ := strings.Cut(lines.Text(), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if len(left) < 5 || len(right) < 3 {
			continue
		}
		m := mount{point: unescape(left[4]), device: left[2], fs: right[0], source: unescape(right[1]), options: unescape(right[2])}
		if within(path, m.point) && len(m.point) >= len(found.point) {
			found, ok = m, true
		}
	}
	return found, ok
}

func within(path, folder string) bool {
	return path == folder || folder == "/" || strings.HasPrefix(path, folder+"/")
}

// unescape undoes the octal escapes of mountinfo.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// option gives the value of a mount option of the file system.
func (m *mount) option(name string) string {
	for _, o := range strings.Split(m.options, ",") {
		if k, v, _ := strings.Cut(o, "="); k == name {
			return v
		}
	}
	return ""
}

// blockDevice finds the folder in /sys of what is mounted. Some file systems
// (btrfs) have a number that is no device's, but name one as their source.
func (r machine) blockDevice(m *mount) string {
	if dir := r.resolve("sys/dev/block/" + m.device); dir != "" {
		return dir
	}
	if !strings.HasPrefix(m.source, "/dev/") {
		return ""
	}
	name := m.source
	if dev := r.resolve(m.source); dev != "" { // /dev/mapper/… is a link to ../dm-0
		name = dev
	}
	return r.resolve("sys/class/block/" + filepath.Base(name))
}

// resolve follows the links of a path; "" where there is nothing.
func (r machine) resolve(path string) string {
	real, err := filepath.EvalSymlinks(filepath.Join(string(r), path))
	if err != nil {
		return ""
	}
	return real
}

// disk judges a block device by its folder in /sys.
func (r machine) disk(dir string, layers int) Medium {
	if layers == 0 {
		return Medium{Kind: Unknown}
	}
	if said(dir, "partition") != "" {
		dir = filepath.Dir(dir)
	}
	name := filepath.Base(dir)
	if file := said(dir, "loop/backing_file"); file != "" {
		return r.medium(file, layers-1)
	}
	// Mappings (LVM, encryption) and arrays are on others: the one that wears
	// most counts.
	var worst *Medium
	slaves, _ := filepath.Glob(filepath.Join(dir, "slaves", "*"))
	for _, s := range slaves {
		if s, err := filepath.EvalSymlinks(s); err == nil {
			m := r.disk(s, layers-1)
			if worst == nil || m.CommitInterval() > worst.CommitInterval() {
				worst = &m
			}
		}
	}
	if worst != nil {
		return *worst
	}
	m := Medium{Kind: Unknown, Device: name}
	rotating, usb := said(dir, "queue/rotational"), strings.Contains(dir, "/usb")
	switch {
	case strings.HasPrefix(name, "mmcblk"):
		m.Kind = SDCard
		if said(dir, "device/type") == "MMC" {
			m.Kind = EMMC
		}
		m.EraseSize, _ = strconv.ParseInt(said(dir, "device/preferred_erase_size"), 10, 64)
	case strings.HasPrefix(name, "nvme"):
		m.Kind = NVMe
	case strings.HasPrefix(name, "vd"), strings.HasPrefix(name, "xvd"):
		m.Kind = VirtualDisk // which says that it rotates, whatever it is on
	case strings.HasPrefix(name, "zram"), strings.HasPrefix(name, "ram"):
		m.Kind = Memory
	case strings.HasPrefix(name, "nbd"), strings.HasPrefix(name, "rbd"), strings.HasPrefix(name, "drbd"):
		m.Kind = Network
	case strings.HasPrefix(name, "mtdblock"):
		m.Kind = RawFlash
	case usb && said(dir, "removable") == "1":
		m.Kind = USBStick // most say that they rotate
	case rotating == "1":
		m.Kind = RotatingDisk
	case rotating == "0":
		m.Kind = SSD
	}
	return m
}

// said is what the kernel says in a file of /sys; "" where there is none.
func said(dir, name string) string {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
