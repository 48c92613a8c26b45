package peers;

/** What a window of acknowledged writes came to. */
final class Writes {
    /** So many keys are written in turn. */
    static final int KEYS = 64;

    private final long firstNs = System.nanoTime();
    private final long untilNs;
    private final Latency latency = new Latency();
    private long lastNs;
    private long writes;
    private long failed;

    Writes(long ms) {
        untilNs = firstNs + ms * 1_000_000;
    }

    boolean isOver() {
        return System.nanoTime() >= untilNs;
    }

    /** Notes that a write which was asked for then has been acknowledged. */
    synchronized void done(long askedNs) {
        lastNs = System.nanoTime();
        latency.note(lastNs - askedNs);
        writes++;
    }

    synchronized void failed(Throwable error) {
        if (failed++ == 0) {
            error.printStackTrace();
        }
    }

    synchronized String line() {
        return "{\"type\":\"written\",\"writes\":" + writes + ",\"failed\":" + failed + ",\"first_ns\":" + firstNs
                + ",\"last_ns\":" + lastNs + ",\"latency\":" + latency + "}";
    }

    /** A value with the number of the write at its front. */
    static byte[] value(int bytes, long number) {
        byte[] value = new byte[bytes];
        Messages.WORD.set(value, 0, number);
        return value;
    }
}
