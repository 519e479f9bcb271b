#ifndef FACET_ROUTER_ADMISSION_TOKEN_BUCKET_H_
#define FACET_ROUTER_ADMISSION_TOKEN_BUCKET_H_

namespace facet {

// A limit a minute: a bucket that holds one minute's worth, begins full and fills evenly. What is
// taken may turn out to be more than was thought, so it may go below nothing; then all wait until
// that is paid off. Holds no lock and no clock: `now_s` is given, and never goes back.
class TokenBucket {
 public:
  // 0: no limit.
  explicit TokenBucket(double per_minute = 0) : per_minute_(per_minute), available_(per_minute) {}

  // What was taken stays taken.
  void SetLimit(double per_minute, double now_s);

  bool limited() const { return per_minute_ > 0; }
  double per_minute() const { return per_minute_; }

  // False, and nothing is taken, if there is not enough. One that asks for more than a minute's
  // worth gets it from a full bucket, or it would never.
  bool Take(double amount, double now_s);
  // Takes in any case; a negative amount gives back.
  void Charge(double amount, double now_s);

  // At least 0.
  double Remaining(double now_s);
  double SecondsUntil(double amount, double now_s);  // Until Take would give it.
  double SecondsUntilFull(double now_s);

 private:
  void Fill(double now_s);

  double per_minute_;
  double available_;
  double filled_s_ = 0;  // When `available_` was right.
};

}  // namespace facet

#endif  // FACET_ROUTER_ADMISSION_TOKEN_BUCKET_H_
