#ifndef FACET_MODEL_PYTHON_TEXT_H_
#define FACET_MODEL_PYTHON_TEXT_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace facet {

// What Python's str does, which the reference's chat template rests on.

// str(value): the shortest digits that read back as `value`, as 1e-05, 2.0, 1e+20, -0.0.
std::string PythonFloat(double value);

// text.strip(): without Unicode white space at both ends.
absl::string_view PythonStrip(absl::string_view text);

}  // namespace facet

#endif  // FACET_MODEL_PYTHON_TEXT_H_
