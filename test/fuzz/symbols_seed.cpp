// The program whose builds are the first inputs of symbols_fuzz: inlined calls, namespaces, templates, types.
namespace outer {

static volatile int sink;

template <typename T>
struct Box {
  T value;
  inline __attribute__((always_inline)) T get(int more) {
    if (more > 3) sink = more;
    return value + more;
  }
};

inline __attribute__((always_inline)) static int twice(Box<int>& box) {
  return box.get(sink) + box.get(4);
}

__attribute__((noinline)) int work(int start) {
  Box<int> box{start};
  return twice(box) * 2;
}

}  // namespace outer

extern "C" void _start() {
  for (;;) outer::sink = outer::work(outer::sink);
}
