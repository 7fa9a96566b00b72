// Runs liquibook, from the reader's own checkout, over a workload of `flopex bench matching`.
//
//   driver TASK FILE FIRST [LIMIT]     tasks as in flopex/bench/matching/contestant.py
//
// Prints one JSON object. The trades go to the file named by FLOPEX_TRADES, if it is set, as rows of
// (taker id, maker id, price, quantity), for the caller to compare. Depth of five levels is kept, as
// in liquibook's own performance test.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <memory>
#include <string>
#include <unistd.h>
#include <vector>

#include <book/depth_order_book.h>

namespace {

struct Command {
  uint8_t what;
  uint8_t side;
  uint16_t book;
  uint32_t order_id;
  int64_t price;
  int64_t quantity;
};
static_assert(sizeof(Command) == 24, "rows are read as they are");

struct TradeRow {
  uint32_t taker_id;
  uint32_t maker_id;
  int64_t price;
  int64_t quantity;
};

constexpr uint8_t kCancel = 2, kIoc = 3, kBid = 1;

class Order {
 public:
  explicit Order(const Command& command)
      : id(command.order_id),
        price_(command.price),
        quantity_(command.quantity),
        buy_(command.side == kBid),
        immediate_(command.what == kIoc) {}

  bool is_buy() const { return buy_; }
  bool is_limit() const { return true; }
  liquibook::book::Price price() const { return price_; }
  liquibook::book::Price stop_price() const { return 0; }
  liquibook::book::Quantity order_qty() const { return quantity_; }
  bool all_or_none() const { return false; }
  bool immediate_or_cancel() const { return immediate_; }

  const uint32_t id;

 private:
  liquibook::book::Price price_;
  liquibook::book::Quantity quantity_;
  bool buy_;
  bool immediate_;
};

std::vector<TradeRow> trades;

using DepthBook = liquibook::book::DepthOrderBook<Order*, 5>;

class Book : public DepthBook {
 protected:
  void on_fill(Order* const& order, Order* const& maker, liquibook::book::Quantity quantity,
               liquibook::book::Price price, bool filled, bool maker_filled) override {
    DepthBook::on_fill(order, maker, quantity, price, filled, maker_filled);
    trades.push_back({order->id, maker->id, int64_t(price), int64_t(quantity)});
  }
};

struct Engine {
  std::vector<std::unique_ptr<Book>> books;
  std::vector<std::unique_ptr<Order>> orders;

  void run(const Command& command) {
    if (command.what == kCancel) {
      books[command.book]->cancel(orders[command.order_id].get());
      return;
    }
    auto& order = orders[command.order_id];
    order = std::make_unique<Order>(command);
    books[command.book]->add(order.get(), command.what == kIoc
        ? liquibook::book::oc_immediate_or_cancel : liquibook::book::oc_no_conditions);
  }
};

double cpu_seconds() {
  timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return double(now.tv_sec) + double(now.tv_nsec) * 1e-9;
}

long resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  long total = 0, resident = 0;
  statm >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

void print_latency(Engine& engine, const std::vector<Command>& commands, size_t first) {
  using Clock = std::chrono::steady_clock;
  std::vector<int64_t> taken;
  taken.reserve(commands.size() - first);
  for (size_t at = first; at < commands.size(); ++at) {
    auto before = Clock::now();
    engine.run(commands[at]);
    taken.push_back(
        std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - before).count());
  }
  std::sort(taken.begin(), taken.end());
  auto share = [&](double part) { return double(taken[size_t(double(taken.size()) * part)]) / 1e3; };
  std::printf("{\"commands\": %zu, \"p50_us\": %.3f, \"p99_us\": %.3f, \"p999_us\": %.3f}\n",
              taken.size(), share(0.5), share(0.99), share(0.999));
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 4) {
    std::fprintf(stderr, "usage: driver TASK FILE FIRST [LIMIT]\n");
    return 2;
  }
  const std::string task = arguments[1];
  const size_t first = std::strtoull(arguments[3], nullptr, 10);
  std::ifstream file(arguments[2], std::ios::binary | std::ios::ate);
  if (!file) {
    std::fprintf(stderr, "cannot read %s\n", arguments[2]);
    return 2;
  }
  size_t rows = size_t(file.tellg()) / sizeof(Command);
  if (count > 4) rows = std::min(rows, size_t(std::strtoull(arguments[4], nullptr, 10)));
  if (task == "memory") rows = std::min(rows, first);
  std::vector<Command> commands(rows);
  file.seekg(0);
  file.read(reinterpret_cast<char*>(commands.data()), std::streamsize(rows * sizeof(Command)));

  Engine engine;
  size_t books = 0, ids = 0;
  for (const auto& command : commands) {
    books = std::max<size_t>(books, command.book + 1u);
    ids = std::max<size_t>(ids, command.order_id + 1u);
  }
  for (size_t number = 0; number < books; ++number) engine.books.push_back(std::make_unique<Book>());
  engine.orders.resize(ids);
  trades.reserve(rows);

  if (task == "latency") {
    for (size_t at = 0; at < first; ++at) engine.run(commands[at]);
    print_latency(engine, commands, first);
    return 0;
  }
  if (task == "memory") {
    long before = resident_bytes();
    for (const auto& command : commands) engine.run(command);
    std::printf("{\"bytes_per_order\": %.1f}\n", double(resident_bytes() - before) / double(rows));
    return 0;
  }
  size_t start = 0;
  if (task == "steady") {
    for (; start < first; ++start) engine.run(commands[start]);
  }
  double before = cpu_seconds();
  for (size_t at = start; at < rows; ++at) engine.run(commands[at]);
  double spent = cpu_seconds() - before;
  if (const char* path = std::getenv("FLOPEX_TRADES")) {
    std::ofstream out(path, std::ios::binary);
    out.write(reinterpret_cast<const char*>(trades.data()),
              std::streamsize(trades.size() * sizeof(TradeRow)));
  }
  std::printf("{\"commands\": %zu, \"cpu_s\": %.6f, \"trades\": %zu}\n", rows - start, spent,
              trades.size());
  return 0;
}
