package peers;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;

/** Makes the messages of a stream: number and time at the front, as the drivers in Rust and our own bench do. */
final class Messages {
    static final VarHandle WORD = MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);
    /** Second word: the last one of its phase, and the time in nanoseconds (0: not told). The sender has the number 0. */
    static final long LAST = 1L << 63;
    static final long STAMP = (1L << 55) - 1;
    private static final int STAMP_EVERY_BYTES = 64 * 1_024;

    private final int bytes;
    private final long stampEvery;
    private final long firstNs = System.nanoTime();
    private final long untilNs;
    private long next;
    private boolean ended;

    Messages(int bytes, long ms, boolean stampAll) {
        this.bytes = bytes;
        stampEvery = stampAll ? 1 : Math.max(STAMP_EVERY_BYTES / bytes, 1);
        untilNs = firstNs + ms * 1_000_000;
    }

    /** The next one. Most of the peers keep the array until it is sent, so each message has its own. */
    byte[] next() {
        byte[] message = new byte[bytes];
        long word = 0;
        if (next % stampEvery == 0) {
            // On Linux this is the monotonic clock that all processes share.
            long now = System.nanoTime();
            ended = now >= untilNs;
            word = (now & STAMP) | (ended ? LAST : 0);
        }
        WORD.set(message, 0, next);
        WORD.set(message, 8, word);
        next++;
        return message;
    }

    boolean ended() {
        return ended;
    }

    long count() {
        return next;
    }

    long firstNs() {
        return firstNs;
    }
}
