package store

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// tree is a made-up machine: files by path, and links as "-> target".
func tree(t *testing.T, mounts string, files map[string]string) machine {
	t.Helper()
	root := t.TempDir()
	files["proc/self/mountinfo"] = mounts
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		target, link := strings.CutPrefix(text, "-> ")
		var err error
		if link {
			err = os.Symlink(target, path)
		} else {
			err = os.WriteFile(path, []byte(text), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return machine(root)
}

func TestMedium(t *testing.T) {
	const (
		mmc  = "sys/devices/platform/soc/mmc_host/mmc0/mmc0:1234/block/mmcblk0"
		pci  = "sys/devices/pci0000:00/0000:00:17.0/ata1/block/sda"
		usb  = "sys/devices/pci0000:00/0000:00:14.0/usb1/1-2/block/sdb"
		virt = "sys/devices/virtual/block/"
	)
	root := "1 0 179:2 / / rw,noatime shared:1 - ext4 /dev/root rw\n"
	partition := func(dir string) map[string]string {
		return map[string]string{"sys/dev/block/179:2": "-> ../../../" + dir + "/p2", dir + "/p2/partition": "2\n"}
	}
	with := func(files map[string]string, more ...string) map[string]string {
		for i := 0; i < len(more); i += 2 {
			files[more[i]] = more[i+1]
		}
		return files
	}
	tests := []struct {
		name, mounts, path string
		files              map[string]string
		want               Medium
	}{
		{"SD card", root, "/var/lib/sluice", with(partition(mmc), mmc+"/device/type", "SD\n", mmc+"/device/preferred_erase_size", "4194304\n", mmc+"/queue/rotational", "0\n"),
			Medium{SDCard, "mmcblk0", "ext4", 4 << 20}},
		{"eMMC", root, "/data", with(partition(mmc), mmc+"/device/type", "MMC\n", mmc+"/device/preferred_erase_size", "524288\n"),
			Medium{EMMC, "mmcblk0", "ext4", 512 << 10}},
		{"SSD", root, "/data", with(partition(pci), pci+"/queue/rotational", "0\n", pci+"/removable", "0\n"), Medium{SSD, "sda", "ext4", 0}},
		{"disk", root, "/data", with(partition(pci), pci+"/queue/rotational", "1\n"), Medium{RotatingDisk, "sda", "ext4", 0}},
		{"USB stick", root, "/data", with(partition(usb), usb+"/queue/rotational", "1\n", usb+"/removable", "1\n"), Medium{USBStick, "sdb", "ext4", 0}},
		{"USB SSD", root, "/data", with(partition(usb), usb+"/queue/rotational", "0\n", usb+"/removable", "0\n"), Medium{SSD, "sdb", "ext4", 0}},
		{"NVMe without partitions", "1 0 259:0 / / rw - xfs /dev/nvme0n1 rw\n", "/data",
			map[string]string{"sys/dev/block/259:0": "-> ../../devices/pci0/nvme/nvme0/nvme0n1", "sys/devices/pci0/nvme/nvme0/nvme0n1/queue/rotational": "0\n"},
			Medium{NVMe, "nvme0n1", "xfs", 0}},
		{"virtual disk that says it rotates", "1 0 254:0 / / rw - ext4 /dev/vda rw\n", "/data",
			map[string]string{"sys/dev/block/254:0": "-> ../../devices/virtio1/block/vda", "sys/devices/virtio1/block/vda/queue/rotational": "1\n"},
			Medium{VirtualDisk, "vda", "ext4", 0}},
		{"deepest mount, with a blank in its name", root + `2 1 0:30 / /mnt/my\040disk rw - tmpfs tmpfs rw` + "\n", "/mnt/my disk/data", partition(mmc), Medium{Memory, "", "tmpfs", 0}},
		{"a name that only begins like a mount's", root + "2 1 0:30 / /mnt rw - tmpfs tmpfs rw\n", "/mntx", with(partition(mmc), mmc+"/device/type", "SD"), Medium{SDCard, "mmcblk0", "ext4", 0}},
		{"newest of two on one point", root + "2 1 0:30 / /d rw - tmpfs tmpfs rw\n3 1 0:31 / /d rw - nfs4 nas:/d rw\n", "/d", partition(mmc), Medium{Network, "", "nfs4", 0}},
		{"compressed memory", "1 0 253:0 / / rw - ext4 /dev/zram0 rw\n", "/",
			map[string]string{"sys/dev/block/253:0": "-> ../../../" + virt + "zram0", virt + "zram0/removable": "0"}, Medium{Memory, "zram0", "ext4", 0}},
		{"LVM on encryption on a card", "1 0 253:1 / / rw - ext4 /dev/mapper/vg-data rw\n", "/data", with(partition(mmc), mmc+"/device/type", "SD\n",
			"sys/dev/block/253:1", "-> ../../../"+virt+"dm-1", virt+"dm-1/slaves/dm-0", "-> ../../dm-0", virt+"dm-0/slaves/mmcblk0p2", "-> ../../../../../../"+mmc+"/p2"),
			Medium{SDCard, "mmcblk0", "ext4", 0}},
		{"array of a disk and a card", "1 0 9:0 / / rw - ext4 /dev/md0 rw\n", "/data", with(partition(mmc), mmc+"/device/type", "SD\n",
			"sys/dev/block/9:0", "-> ../../../"+virt+"md0", pci+"/queue/rotational", "1",
			virt+"md0/slaves/sda", "-> ../../../../../../"+pci, virt+"md0/slaves/z", "-> ../../../../../../"+mmc+"/p2"),
			Medium{SDCard, "mmcblk0", "ext4", 0}},
		{"loop file", root + "2 1 7:0 / /mnt rw - ext4 /dev/loop0 rw\n", "/mnt/data", with(partition(mmc), mmc+"/device/type", "SD\n",
			"sys/dev/block/7:0", "-> ../../../"+virt+"loop0", virt+"loop0/loop/backing_file", "/srv/image\n"),
			Medium{SDCard, "mmcblk0", "ext4", 0}},
		{"loop file on itself", "2 1 7:0 / / rw - ext4 /dev/loop0 rw\n", "/data",
			map[string]string{"sys/dev/block/7:0": "-> ../../../" + virt + "loop0", virt + "loop0/loop/backing_file": "/srv/image\n"},
			Medium{Unknown, "", "ext4", 0}},
		{"btrfs, whose number is no device's", "1 0 0:25 /@ / rw - btrfs /dev/mmcblk0p2 rw\n", "/data", with(partition(mmc), mmc+"/device/type", "SD\n",
			"sys/class/block/mmcblk0p2", "-> ../../../"+mmc+"/p2"), Medium{SDCard, "mmcblk0", "btrfs", 0}},
		{"btrfs on a mapping", "1 0 0:25 /@ / rw - btrfs /dev/mapper/data rw\n", "/data", map[string]string{"dev/mapper/data": "-> ../dm-0", "dev/dm-0": "",
			"sys/class/block/dm-0": "-> ../../../" + virt + "dm-0", virt + "dm-0/slaves/sda": "-> ../../../../../../" + pci, pci + "/queue/rotational": "0"},
			Medium{SSD, "sda", "btrfs", 0}},
		{"overlay of a container", "1 0 0:40 / / rw - overlay overlay rw,lowerdir=/l,upperdir=/var/lib/docker/u,workdir=/w\n2 1 179:2 / /var/lib rw - ext4 /dev/root rw\n", "/data",
			with(partition(mmc), mmc+"/device/type", "SD\n"), Medium{SDCard, "mmcblk0", "overlay", 0}},
		{"overlay over memory", "1 0 0:40 / / rw - overlay overlay rw,lowerdir=/l,upperdir=/media/rw/u\n2 1 0:41 / /media/rw rw - tmpfs tmpfs rw\n", "/data",
			map[string]string{}, Medium{Memory, "", "overlay", 0}},
		{"overlay on itself", "1 0 0:40 / / rw - overlay overlay rw,upperdir=/u\n", "/data", map[string]string{}, Medium{Unknown, "", "overlay", 0}},
		{"UBI", "1 0 0:12 / / rw - ubifs ubi0:data rw\n", "/data", map[string]string{}, Medium{RawFlash, "", "ubifs", 0}},
		{"no such thing", "x\n1 0 8:1 / / rw - zfs tank/data rw\n", "/data", map[string]string{}, Medium{Unknown, "", "zfs", 0}},
		{"no mounts", "", "/data", map[string]string{}, Medium{Unknown, "", "", 0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tree(t, tt.mounts, tt.files).medium(tt.path, maxLayers); got != tt.want {
				t.Errorf("%v: got %+v, want %+v", tt.path, got, tt.want)
			}
		})
	}
}

// TestMediumHere asks the machine that it runs on.
func TestMediumHere(t *testing.T) {
	m := MediumOf(filepath.Join(t.TempDir(), "not/there/yet"))
	if m.FileSystem == "" {
		t.Errorf("the folder of this test is on %v", m)
	}
	t.Log(m, m.CommitInterval())
	if m := MediumOf("/dev/shm"); m.Kind != Memory {
		t.Errorf("/dev/shm is on %v", m)
	}
	if d, err := SyncTime(t.TempDir()); err != nil || d <= 0 || d > time.Minute {
		t.Errorf("a flush takes %v: %v", d, err)
	}
}

func TestMediumIntervals(t *testing.T) {
	got := ""
	for _, k := range []MediumKind{SDCard, USBStick, RawFlash, EMMC, SSD, NVMe, RotatingDisk, VirtualDisk, Memory, Network, Unknown} {
		got += fmt.Sprintf("%s %v, ", k, Medium{Kind: k}.CommitInterval())
	}
	const want = "SD card 250ms, USB stick 250ms, raw flash 250ms, eMMC 10ms, SSD 0s, NVMe 0s, rotating disk 0s, virtual disk 0s, memory 0s, network 0s, unknown medium 0s, "
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
