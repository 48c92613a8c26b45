package peers;

import com.hazelcast.config.Config;
import com.hazelcast.config.InMemoryFormat;
import com.hazelcast.config.JoinConfig;
import com.hazelcast.config.NetworkConfig;
import com.hazelcast.cluster.MembershipAdapter;
import com.hazelcast.cluster.MembershipEvent;
import com.hazelcast.core.Hazelcast;
import com.hazelcast.core.HazelcastInstance;
import com.hazelcast.map.IMap;
import com.hazelcast.partition.PartitionService;
import com.hazelcast.topic.ITopic;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;

/** Hazelcast: a topic with a listener on each receiver; a map with one synchronous backup. */
final class HazelcastPeer implements Main.Peer {
    private static final String NAME = "peers";

    private final HazelcastInstance instance;
    private final ITopic<byte[]> topic;
    private final CountDownLatch all = new CountDownLatch(1);
    private final int members;

    HazelcastPeer(Main.Job job, Sink sink) {
        members = job.members();
        instance = Hazelcast.newHazelcastInstance(config(job));
        topic = instance.getTopic(NAME);
        if (job.role().equals("receive")) {
            topic.addMessageListener(message -> sink.take(message.getMessageObject(), 0));
        }
        instance.getCluster().addMembershipListener(new MembershipAdapter() {
            @Override
            public void memberAdded(MembershipEvent event) {
                look();
            }
        });
        look();
    }

    private void look() {
        if (instance.getCluster().getMembers().size() == members) {
            all.countDown();
        }
    }

    private static Config config(Main.Job job) {
        Config config = new Config();
        config.setClusterName("peers-" + job.ports()[0]);
        for (String[] property : new String[][] {
            {"hazelcast.logging.type", "none"},
            {"hazelcast.phone.home.enabled", "false"},
            {"hazelcast.socket.bind.any", "false"},
            {"hazelcast.socket.receive.buffer.size", "128"},
            {"hazelcast.socket.send.buffer.size", "128"},
            {"hazelcast.io.input.thread.count", "1"},
            {"hazelcast.io.output.thread.count", "1"},
            {"hazelcast.event.thread.count", "1"},
            {"hazelcast.event.queue.capacity", "4000000"},
            {"hazelcast.operation.response.thread.count", "0"},
            {"hazelcast.operation.thread.count", "2"},
            {"hazelcast.operation.generic.thread.count", "2"},
            {"hazelcast.wait.seconds.before.join", "0"},
        }) {
            config.setProperty(property[0], property[1]);
        }
        config.getMetricsConfig().setEnabled(false);
        NetworkConfig network = config.getNetworkConfig();
        network.setPort(job.ports()[job.number()]).setPortAutoIncrement(false).setReuseAddress(true);
        network.setPublicAddress("127.0.0.1:" + job.ports()[job.number()]);
        network.getInterfaces().setEnabled(true).addInterface("127.0.0.1");
        JoinConfig join = network.getJoin();
        join.getAutoDetectionConfig().setEnabled(false);
        join.getMulticastConfig().setEnabled(false);
        join.getTcpIpConfig().setEnabled(true).addMember("127.0.0.1:" + job.ports()[0]);
        config.getTopicConfig(NAME).setStatisticsEnabled(false).setGlobalOrderingEnabled(false);
        config.getMapConfig(NAME).setBackupCount(1).setAsyncBackupCount(0).setStatisticsEnabled(false)
                .setInMemoryFormat(InMemoryFormat.BINARY);
        return config;
    }

    @Override
    public void awaitAll() throws Exception {
        all.await();
    }

    @Override
    public void publish(byte[] message, boolean paced) {
        topic.publish(message);
    }

    @Override
    public Writes write(int bytes, long ms, int window) throws Exception {
        IMap<Long, byte[]> map = instance.getMap(NAME);
        long[] keys = ownKeys();
        Writes writes = new Writes(ms);
        Semaphore free = new Semaphore(window);
        for (int number = 0; !writes.isOver(); number++) {
            byte[] value = Writes.value(bytes, number);
            long key = keys[number % keys.length];
            long asked = System.nanoTime();
            if (window == 1) {
                map.set(key, value);
                writes.done(asked);
                continue;
            }
            free.acquire();
            map.setAsync(key, value).whenCompleteAsync((nothing, error) -> {
                if (error == null) {
                    writes.done(asked);
                } else {
                    writes.failed(error);
                }
                free.release();
            }, Runnable::run);
        }
        free.acquire(window);
        return writes;
    }

    /** Keys whose partitions this member owns: only the backup is remote, as with our sessions. */
    private long[] ownKeys() {
        PartitionService partitions = instance.getPartitionService();
        if (!partitions.forceLocalMemberToBeSafe(30, TimeUnit.SECONDS)) {
            throw new IllegalStateException("the backups are not complete");
        }
        long[] keys = new long[Writes.KEYS];
        int found = 0;
        for (long key = 0; found < keys.length; key++) {
            if (partitions.getPartition(key).getOwner().localMember()) {
                keys[found++] = key;
            }
        }
        return keys;
    }
}
