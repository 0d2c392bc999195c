import com.google.protobuf.ByteString;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.ErrorInfo;
import com.lookalike.v1.*;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.TimeUnit;

/** Indexes pictures and finds those that look alike, over gRPC: {@code java -jar build/search.jar HOST:PORT PICTURE...} */
public final class Search {
    private static final String COLLECTION = "example_java";
    private static final long SERIAL = (1L << 53) + 1; // One more than a double can hold.

    private final CollectionServiceGrpc.CollectionServiceBlockingStub collections;
    private final IngestServiceGrpc.IngestServiceStub uploads;
    private final IngestServiceGrpc.IngestServiceBlockingStub ingest;
    private final SearchServiceGrpc.SearchServiceBlockingStub searches;

    private Search(ManagedChannel channel) {
        collections = CollectionServiceGrpc.newBlockingStub(channel);
        uploads = IngestServiceGrpc.newStub(channel);
        ingest = IngestServiceGrpc.newBlockingStub(channel);
        searches = SearchServiceGrpc.newBlockingStub(channel);
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments.length < 2) {
            System.err.println("usage: java -jar build/search.jar HOST:PORT PICTURE...");
            System.exit(2);
        }
        ManagedChannel channel = ManagedChannelBuilder.forTarget(arguments[0]).usePlaintext().build();
        List<Path> pictures = Arrays.stream(arguments).skip(1).map(Path::of).toList();
        try {
            Search example = new Search(channel);
            example.createCollection();
            example.index(pictures);
            example.searchLike(pictures.get(0));
            example.searchForNothing();
        } catch (StatusRuntimeException | CompletionException error) {
            System.err.println(reasonOf(error) + " " + error.getMessage());
            System.exit(1);
        } finally {
            channel.shutdownNow();
        }
    }

    /** Why a call failed, for programs: UPPER_SNAKE, such as COLLECTION_NOT_FOUND. "" where the gateway was not reached. */
    private static String reasonOf(Throwable error) throws InvalidProtocolBufferException {
        for (var detail : StatusProto.fromThrowable(error).getDetailsList()) {
            if (detail.is(ErrorInfo.class)) return detail.unpack(ErrorInfo.class).getReason();
        }
        return "";
    }

    private void createCollection() throws InvalidProtocolBufferException {
        try {
            collections.withDeadlineAfter(10, TimeUnit.SECONDS).createCollection(
                CreateCollectionRequest.newBuilder().setName(COLLECTION).setDescription("Pictures of an example").build());
        } catch (StatusRuntimeException error) {
            if (!reasonOf(error).equals("ALREADY_EXISTS")) throw error;
        }
    }

    private String upload(List<Path> pictures) throws IOException {
        CompletableFuture<String> uploadId = new CompletableFuture<>();
        StreamObserver<UploadItemsRequest> parts = uploads.withDeadlineAfter(60, TimeUnit.SECONDS).uploadItems(new StreamObserver<>() {
            @Override public void onNext(UploadItemsResponse answer) { uploadId.complete(answer.getUploadId()); }
            @Override public void onError(Throwable error) { uploadId.completeExceptionally(error); }
            @Override public void onCompleted() {}
        });
        parts.onNext(UploadItemsRequest.newBuilder().setHeader(UploadHeader.newBuilder().setCollection(COLLECTION)).build());
        for (int place = 0; place < pictures.size(); place++) {
            Path picture = pictures.get(place);
            Metadata metadata = Metadata.newBuilder()
                .putFields("file", MetadataValue.newBuilder().setStringValue(picture.getFileName().toString()).build())
                .putFields("serial", MetadataValue.newBuilder().setIntegerValue(SERIAL + place).build())
                .build();
            parts.onNext(UploadItemsRequest.newBuilder().setItem(UploadItem.newBuilder()
                .setId(picture.getFileName().toString()).setUri(picture.toString()).setMetadata(metadata)
                .setContent(ByteString.copyFrom(Files.readAllBytes(picture)))).build());
        }
        parts.onCompleted();
        return uploadId.join();
    }

    private void index(List<Path> pictures) throws IOException {
        Source source = Source.newBuilder().setUpload(UploadSource.newBuilder().setUploadId(upload(pictures))).build();
        String id = ingest.withDeadlineAfter(10, TimeUnit.SECONDS).createIngestJob(
            CreateIngestJobRequest.newBuilder().setCollection(COLLECTION).setSource(source).build()).getJob().getId();
        var watched = WatchIngestJobRequest.newBuilder().setId(id).build();
        ingest.withDeadlineAfter(120, TimeUnit.SECONDS).watchIngestJob(watched).forEachRemaining(answer -> {
            ItemCounts counts = answer.getJob().getCounts();
            System.out.printf("%s: %d indexed, %d skipped, %d failed%n", answer.getJob().getState(), counts.getIndexed(),
                counts.getSkipped(), counts.getFailed());
        });
    }

    private SearchResponse search(Query.Builder query, SearchOptions.Builder options) {
        options.setConsistency(Consistency.CONSISTENCY_STRONG); // Sees what the job wrote a moment ago.
        return searches.withDeadlineAfter(10, TimeUnit.SECONDS).search(
            SearchRequest.newBuilder().setCollection(COLLECTION).setQuery(query).setOptions(options).build());
    }

    private void searchLike(Path picture) throws IOException {
        String name = picture.getFileName().toString();
        print("Like the file " + name, search(
            Query.newBuilder().setImage(ByteString.copyFrom(Files.readAllBytes(picture))),
            SearchOptions.newBuilder().addSpaces("siamese").addSpaces("histogram").putWeights("siamese", 2).setTopK(3)
                .setFilter("serial >= " + SERIAL)));
        print("Like the stored image " + name, search(Query.newBuilder().setImageId(name), SearchOptions.newBuilder()));
    }

    private void searchForNothing() throws InvalidProtocolBufferException {
        try {
            search(Query.newBuilder().setImageId("no such image"), SearchOptions.newBuilder());
        } catch (StatusRuntimeException error) {
            if (!reasonOf(error).equals("IMAGE_NOT_FOUND")) throw error;
            System.out.printf("%n%s: %s%n", reasonOf(error), error.getStatus().getDescription());
        }
    }

    private static void print(String title, SearchResponse answer) {
        System.out.printf("%n%s%nrank  similarity  serial            id%n", title);
        for (Neighbour neighbour : answer.getNeighboursList()) {
            Image image = neighbour.getImage();
            long serial = image.getMetadata().getFieldsOrThrow("serial").getIntegerValue();
            System.out.printf("%4d %11.4f  %-17d %s%n", neighbour.getRank(), neighbour.getSimilarity(), serial, image.getId());
        }
    }
}
