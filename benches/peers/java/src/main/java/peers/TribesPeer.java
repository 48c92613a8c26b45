package peers;

import java.io.Serializable;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.catalina.tribes.ByteMessage;
import org.apache.catalina.tribes.Channel;
import org.apache.catalina.tribes.ChannelListener;
import org.apache.catalina.tribes.Member;
import org.apache.catalina.tribes.group.GroupChannel;
import org.apache.catalina.tribes.membership.StaticMember;
import org.apache.catalina.tribes.transport.ReplicationTransmitter;
import org.apache.catalina.tribes.transport.nio.NioReceiver;
import org.apache.catalina.tribes.transport.nio.PooledParallelSender;

/**
 * Tribes: each message is acknowledged by all whom it is for once their host has taken it. So the next one cannot overtake it on
 * another of the receiver's threads.
 */
final class TribesPeer implements Main.Peer, ChannelListener {
    private static final int OPTIONS = Channel.SEND_OPTIONS_USE_ACK | Channel.SEND_OPTIONS_SYNCHRONIZED_ACK;
    private static final int SOCKET_BYTES = 128 * 1_024;
    private static final int MOST_WRITES = 64;

    private final Main.Job job;
    private final Sink sink;
    private final GroupChannel channel = new GroupChannel();
    private final Member[] others;
    private final byte[][] store = new byte[Writes.KEYS][];

    TribesPeer(Main.Job job, Sink sink) throws Exception {
        this.job = job;
        this.sink = sink;
        NioReceiver receiver = new NioReceiver();
        receiver.setAddress("127.0.0.1");
        receiver.setPort(job.ports()[job.number()]);
        receiver.setAutoBind(0);
        receiver.setRxBufSize(SOCKET_BYTES);
        receiver.setTxBufSize(SOCKET_BYTES);
        receiver.setMaxThreads(MOST_WRITES + 4);
        channel.setChannelReceiver(receiver);
        PooledParallelSender sender = new PooledParallelSender();
        sender.setRxBufSize(SOCKET_BYTES);
        sender.setTxBufSize(SOCKET_BYTES);
        sender.setTcpNoDelay(true);
        sender.setPoolSize(MOST_WRITES);
        sender.setTimeout(15_000);
        ReplicationTransmitter transmitter = new ReplicationTransmitter();
        transmitter.setTransport(sender);
        channel.setChannelSender(transmitter);
        channel.addChannelListener(this);
        // Whom it is for is told with each message: no membership is needed.
        channel.start(Channel.SND_RX_SEQ | Channel.SND_TX_SEQ);
        others = new Member[job.isFirst() ? job.members() - 1 : 0];
        for (int at = 0; at < others.length; at++) {
            others[at] = new StaticMember("127.0.0.1", job.ports()[at + 1], 1_000);
        }
    }

    @Override
    public void awaitAll() {
        // Each member is complete by itself once it listens; whoever started them waits for all.
    }

    @Override
    public boolean accept(Serializable message, Member from) {
        return message instanceof ByteMessage;
    }

    @Override
    public void messageReceived(Serializable message, Member from) {
        byte[] bytes = ((ByteMessage) message).getMessage();
        if (job.role().equals("backup")) {
            long number = (long) Messages.WORD.get(bytes, 0);
            store[(int) (number % Writes.KEYS)] = bytes;
        } else {
            sink.take(bytes, 0);
        }
    }

    @Override
    public void publish(byte[] message, boolean paced) throws Exception {
        channel.send(others, new ByteMessage(message), OPTIONS);
    }

    @Override
    public Writes write(int bytes, long ms, int window) throws Exception {
        Writes writes = new Writes(ms);
        AtomicLong next = new AtomicLong();
        Thread[] threads = new Thread[window];
        for (int at = 0; at < window; at++) {
            threads[at] = new Thread(() -> {
                try {
                    while (!writes.isOver()) {
                        long asked = System.nanoTime();
                        publish(Writes.value(bytes, next.getAndIncrement()), false);
                        writes.done(asked);
                    }
                } catch (Exception error) {
                    writes.failed(error);
                }
            });
            threads[at].start();
        }
        for (Thread thread : threads) {
            thread.join();
        }
        return writes;
    }
}
