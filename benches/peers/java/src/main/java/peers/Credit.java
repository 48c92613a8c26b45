package peers;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.concurrent.locks.LockSupport;

/** The sender's side of the window that all processes share by a page of memory: a count for each receiver. */
final class Credit {
    private static final VarHandle COUNT =
            MethodHandles.byteBufferViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);
    private static final int SLOTS = 64;
    private static final int SLOT_BYTES = 64;
    private static final long REST_NS = 50_000;

    private final ByteBuffer page;
    private long sent;
    private long seen;

    Credit(String path) throws Exception {
        page = open(path);
    }

    /** Counts one more message to the members from the first one on, and waits until fewer than {@code window} are under way. */
    void take(int first, int members, long window) {
        sent++;
        while (sent - seen >= window) {
            seen = sent;
            for (int number = first; number < members; number++) {
                seen = Math.min(seen, (long) COUNT.getAcquire(page, number * SLOT_BYTES));
            }
            if (sent - seen >= window) {
                LockSupport.parkNanos(REST_NS);
            }
        }
    }

    static void restUntil(long due) {
        for (long left = due - System.nanoTime(); left > 0; left = due - System.nanoTime()) {
            LockSupport.parkNanos(left);
        }
    }

    private static ByteBuffer open(String path) throws Exception {
        try (FileChannel file = FileChannel.open(Path.of(path), StandardOpenOption.READ, StandardOpenOption.WRITE)) {
            return file.map(FileChannel.MapMode.READ_WRITE, 0, (long) SLOTS * SLOT_BYTES);
        }
    }

    /** A receiver's side. */
    static final class Slot {
        private final ByteBuffer page;
        private final int number;

        Slot(String path, int number) throws Exception {
            page = open(path);
            this.number = number;
        }

        /** Tells how many messages it has had. */
        void tell(long count) {
            COUNT.setRelease(page, number * SLOT_BYTES, count);
        }
    }
}
