package peers;

import java.util.Map;
import java.util.TreeMap;

/** How often each latency was seen, to the microsecond. */
final class Latency {
    private static final int TABLE = 32 * 1_024;
    private int[] table;
    private final Map<Long, Integer> beyond = new TreeMap<>();

    void note(long ns) {
        long us = Math.max(ns / 1_000, 0);
        if (table == null) {
            table = new int[TABLE];
        }
        if (us < TABLE) {
            table[(int) us]++;
        } else {
            beyond.merge(us, 1, Integer::sum);
        }
    }

    /** Pairs of a latency and how often it was seen. */
    @Override
    public String toString() {
        StringBuilder text = new StringBuilder("[");
        for (int us = 0; table != null && us < TABLE; us++) {
            if (table[us] > 0) {
                add(text, us, table[us]);
            }
        }
        beyond.forEach((us, count) -> add(text, us, count));
        return text.append("]").toString();
    }

    private static void add(StringBuilder text, long us, int count) {
        text.append(text.length() > 1 ? ",[" : "[").append(us).append(",").append(count).append("]");
    }
}
